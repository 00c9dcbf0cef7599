//! NVIDIA GPUs, through NVML, which the driver brings and which is loaded at run time. Without it there is nothing to say.

use crate::link::Gpu;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

/// NVML, where it is.
pub(super) struct Nvidia {
    library: Option<Nvml>,
}

impl std::fmt::Debug for Nvidia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nvidia")
            .field("loaded", &self.library.is_some())
            .finish()
    }
}

impl Nvidia {
    pub(super) fn open() -> Self {
        Self {
            library: Nvml::init().ok(),
        }
    }

    /// All GPUs; a figure that a GPU does not give is left out.
    pub(super) fn gpus(&self) -> Vec<Gpu> {
        let Some(library) = &self.library else {
            return Vec::new();
        };
        let count = library.device_count().unwrap_or(0);
        let devices =
            (0..count).filter_map(|index| Some((index, library.device_by_index(index).ok()?)));
        devices
            .map(|(index, device)| {
                let memory = device.memory_info().ok();
                let celsius = device.temperature(TemperatureSensor::Gpu).ok();
                Gpu {
                    device: format!("cuda:{index}"),
                    name: device.name().unwrap_or_default(),
                    utilisation_percent: device
                        .utilization_rates()
                        .ok()
                        .map(|rates| f64::from(rates.gpu)),
                    memory_used_bytes: memory.as_ref().map(|memory| memory.used),
                    memory_total_bytes: memory.as_ref().map(|memory| memory.total),
                    power_watts: device
                        .power_usage()
                        .ok()
                        .map(|milliwatts| f64::from(milliwatts) / 1e3),
                    temperature_celsius: celsius.map(f64::from),
                }
            })
            .collect()
    }
}

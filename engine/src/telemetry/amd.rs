//! AMD GPUs, from the files of the amdgpu driver under `/sys/class/drm`.

use crate::link::Gpu;
use std::fs;
use std::path::{Path, PathBuf};

/// AMD's number among the makers of PCI devices.
const VENDOR: &str = "0x1002";

/// All AMD GPUs below `drm`; a figure that the driver does not give is left out.
pub(super) fn gpus(drm: &Path) -> Vec<Gpu> {
    let mut cards: Vec<(u32, PathBuf)> = fs::read_dir(drm)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            // `card0`, not its outputs such as `card0-DP-1`.
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("card")?
                .parse()
                .ok()?;
            Some((number, entry.path().join("device")))
        })
        .filter(|(_, device)| text(&device.join("vendor")).as_deref() == Some(VENDOR))
        .collect();
    cards.sort();
    let gpus = cards.into_iter().enumerate().map(|(index, (_, device))| {
        let sensor = |name: &str| sensor(&device, name);
        Gpu {
            device: format!("rocm:{index}"),
            name: text(&device.join("product_name")).unwrap_or_else(|| "AMD GPU".to_owned()),
            utilisation_percent: number(&device.join("gpu_busy_percent")),
            memory_used_bytes: number(&device.join("mem_info_vram_used")).map(|bytes| bytes as u64),
            memory_total_bytes: number(&device.join("mem_info_vram_total"))
                .map(|bytes| bytes as u64),
            // Microwatts and thousandths of a degree.
            power_watts: sensor("power1_average")
                .or(sensor("power1_input"))
                .map(|micro| micro / 1e6),
            temperature_celsius: sensor("temp1_input").map(|milli| milli / 1e3),
        }
    });
    gpus.collect()
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: &Path) -> Option<f64> {
    text(path)?.parse().ok()
}

/// A file of the first hardware monitor of the device that has it.
fn sensor(device: &Path, name: &str) -> Option<f64> {
    let monitors = fs::read_dir(device.join("hwmon")).ok()?;
    monitors
        .flatten()
        .find_map(|monitor| number(&monitor.path().join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn cards_are_told_from_outputs_and_other_makers() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        write(&at("card10/device/vendor"), "0x1002\n");
        write(&at("card2/device/vendor"), "0x1002\n");
        write(&at("card2/device/gpu_busy_percent"), "97\n");
        write(&at("card2/device/mem_info_vram_used"), "1024\n");
        write(&at("card2/device/mem_info_vram_total"), "4096\n");
        write(
            &at("card2/device/hwmon/hwmon3/power1_average"),
            "250500000\n",
        );
        write(&at("card2/device/hwmon/hwmon3/temp1_input"), "61000\n");
        write(&at("card0/device/vendor"), "0x8086\n");
        write(&at("card2-DP-1/device/vendor"), "0x1002\n");
        let found = gpus(folder.path());
        assert_eq!(found.len(), 2, "{found:?}");
        let first = Gpu {
            device: "rocm:0".to_owned(),
            name: "AMD GPU".to_owned(),
            utilisation_percent: Some(97.0),
            memory_used_bytes: Some(1024),
            memory_total_bytes: Some(4096),
            power_watts: Some(250.5),
            temperature_celsius: Some(61.0),
        };
        assert_eq!(found[0], first);
        // The driver of the other says nothing about itself.
        assert_eq!(
            (found[1].device.as_str(), found[1].power_watts),
            ("rocm:1", None)
        );
        assert!(gpus(&at("nowhere")).is_empty());
    }
}

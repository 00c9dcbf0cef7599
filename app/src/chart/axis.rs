//! Scales, ticks and the numbers beside them.
//!
//! A [`Scale`] maps a value to a fraction of an axis; [`Axis::ticks`] picks round values in its window. The logarithmic scale
//! is true to the end of its window (it never turns linear near zero): what is not positive has no place on it, and the
//! chart says so. Used by [`super::draw`].

/// How values map to the length of an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences take equal lengths.
    #[default]
    Linear,
    /// Equal ratios take equal lengths (base 10).
    Log,
}

/// A window of values with its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Value at fraction 0.
    pub lo: f64,
    /// Value at fraction 1.
    pub hi: f64,
    /// How values between them are placed.
    pub scale: Scale,
}

impl Axis {
    /// An axis that holds `lo..=hi` with `margin` (a fraction of the length) to spare on both sides. A window of no
    /// length is widened. A logarithmic axis needs `lo > 0`.
    pub fn around(lo: f64, hi: f64, scale: Scale, margin: f64) -> Self {
        let (a, b) = match scale {
            Scale::Linear => (lo, hi),
            Scale::Log => (lo.log10(), hi.log10()),
        };
        let least = match scale {
            Scale::Linear => (a.abs().max(b.abs()) * 1e-3).max(f64::from(f32::MIN_POSITIVE)),
            Scale::Log => 1e-3,
        };
        let pad = if b - a < least {
            least
        } else {
            (b - a) * margin
        };
        let (a, b) = (a - pad, b + pad);
        match scale {
            Scale::Linear => Self {
                lo: a,
                hi: b,
                scale,
            },
            Scale::Log => Self {
                lo: 10f64.powf(a),
                hi: 10f64.powf(b),
                scale,
            },
        }
    }

    /// Where a value lies: 0 at `lo`, 1 at `hi`, outside that beyond them. None for what has no place: not finite, or
    /// not positive on a logarithmic axis.
    pub fn fraction(&self, value: f64) -> Option<f64> {
        let (v, lo, hi) = match self.scale {
            Scale::Linear => (value, self.lo, self.hi),
            Scale::Log if value <= 0.0 => return None,
            Scale::Log => (value.log10(), self.lo.log10(), self.hi.log10()),
        };
        let fraction = (v - lo) / (hi - lo);
        fraction.is_finite().then_some(fraction)
    }

    /// At most `most` round values within the window, in rising order, each with its label.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        if most == 0 || !(self.lo.is_finite() && self.hi.is_finite() && self.lo < self.hi) {
            return Vec::new();
        }
        let values = match self.scale {
            Scale::Linear => linear_ticks(self.lo, self.hi, most),
            Scale::Log => log_ticks(self.lo, self.hi, most),
        };
        label(values)
    }
}

/// A marked value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where.
    pub value: f64,
    /// What stands there.
    pub label: String,
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(lo: f64, hi: f64, most: usize) -> Vec<f64> {
    let mut exponent = ((hi - lo) / most as f64).log10().floor() as i32 - 1;
    loop {
        for mantissa in [1.0, 2.0, 5.0] {
            // Dividing by an exact power of ten keeps 0.3 from becoming 0.30000000000000004.
            let at = |index: f64| {
                if exponent < 0 {
                    index * mantissa / 10f64.powi(-exponent)
                } else {
                    index * mantissa * 10f64.powi(exponent)
                }
            };
            let step = at(1.0);
            if step <= 0.0 {
                continue;
            }
            let (first, last) = ((lo / step).ceil(), (hi / step).floor());
            if last - first + 1.0 <= most as f64 {
                let num = (last - first + 1.0).max(0.0) as usize;
                return (0..num).map(|i| at(first + i as f64)).collect();
            }
        }
        exponent += 1;
    }
}

/// Powers of ten, thinned where they are too many and joined by 2 and 5, then by finer steps, where they are too few.
fn log_ticks(lo: f64, hi: f64, most: usize) -> Vec<f64> {
    let (first, last) = (lo.log10().floor() as i32, hi.log10().ceil() as i32);
    let within = |values: Vec<f64>| -> Vec<f64> {
        values
            .into_iter()
            .filter(|v| (lo..=hi).contains(v))
            .collect()
    };
    let power = |exponent: i32| -> f64 { format!("1e{exponent}").parse().unwrap_or(f64::NAN) };
    let decades = within((first..=last).map(power).collect());
    if decades.len() > most {
        let stride = decades.len().div_ceil(most);
        return decades.into_iter().step_by(stride).collect();
    }
    let mut best = decades;
    for mantissas in [&[1.0, 3.0][..], &[1.0, 2.0, 5.0]] {
        let finer = within(
            (first..=last)
                .flat_map(|e| mantissas.iter().map(move |m| m * power(e)))
                .collect(),
        );
        if finer.len() <= most && finer.len() > best.len() {
            best = finer;
        }
    }
    // Within a part of a decade only round linear values have more to say.
    if best.len() < 3.min(most) {
        let linear = linear_ticks(lo, hi, most);
        if linear.len() > best.len() {
            best = linear;
        }
    }
    best
}

/// Labels just precise enough to tell neighbours apart.
fn label(values: Vec<f64>) -> Vec<Tick> {
    let mut labels: Vec<String> = Vec::new();
    for digits in 1..=9 {
        labels = values.iter().map(|&v| number(v, digits)).collect();
        let distinct = labels.windows(2).all(|pair| pair[0] != pair[1]);
        let exact = values
            .iter()
            .zip(&labels)
            .all(|(v, l)| parse(l).is_none_or(|p| (p - v).abs() <= v.abs() * 1e-9));
        if distinct && exact {
            break;
        }
    }
    align_decimals(&mut labels);
    values
        .into_iter()
        .zip(labels)
        .map(|(value, label)| Tick { value, label })
        .collect()
}

/// Gives plain labels (no suffix, no exponent) the same number of decimals: 2, 2.5, 3 becomes 2.0, 2.5, 3.0.
fn align_decimals(labels: &mut [String]) {
    let decimals = |l: &str| l.split_once('.').map_or(0, |(_, d)| d.len());
    if labels
        .iter()
        .any(|l| l.ends_with(|c: char| c.is_alphabetic()) || l.contains('e'))
    {
        return;
    }
    let most = labels.iter().map(|l| decimals(l)).max().unwrap_or(0);
    for label in labels.iter_mut().filter(|l| l.as_str() != "0") {
        let have = decimals(label);
        if most > 0 && have == 0 {
            label.push('.');
        }
        label.extend(std::iter::repeat_n('0', most - have));
    }
}

fn parse(label: &str) -> Option<f64> {
    let (body, factor) = match label.chars().last()? {
        'k' => (&label[..label.len() - 1], 1e3),
        'M' => (&label[..label.len() - 1], 1e6),
        'G' => (&label[..label.len() - 1], 1e9),
        'T' => (&label[..label.len() - 1], 1e12),
        _ => (label, 1.0),
    };
    body.parse::<f64>().ok().map(|v| v * factor)
}

/// A number in at most `digits` significant digits and few columns: `0.25`, `12`, `1.2k`, `3.1e-4`, `NaN`.
pub fn number(value: f64, digits: usize) -> String {
    write(value, digits, true)
}

/// Like [`number`] with exactly `digits` significant digits, for columns of figures: `0.250`, `12.0`, `1.20k`.
pub fn figure(value: f64, digits: usize) -> String {
    write(value, digits, false)
}

fn write(value: f64, digits: usize, short: bool) -> String {
    let trim = |text: &str| {
        if short {
            trim(text).to_owned()
        } else {
            text.to_owned()
        }
    };
    if value == 0.0 {
        return "0".into();
    }
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let digits = digits.max(1);
    // Rounding first: 999.96 in four digits is 1.0k, not 1000.
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().unwrap_or(value);
    let magnitude = rounded.abs();
    if !(1e-2..1e15).contains(&magnitude) {
        let text = format!("{rounded:.*e}", digits - 1);
        return match text.split_once('e') {
            Some((mantissa, exponent)) => format!("{}e{exponent}", trim(mantissa)),
            None => text,
        };
    }
    let (unit, suffix) = match magnitude {
        m if m >= 1e12 => (1e12, "T"),
        m if m >= 1e9 => (1e9, "G"),
        m if m >= 1e6 => (1e6, "M"),
        m if m >= 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = rounded / unit;
    let before_point = scaled.abs().log10().floor() as i32 + 1;
    let decimals = (digits as i32 - before_point).max(0) as usize;
    format!("{}{suffix}", trim(&format!("{scaled:.decimals$}")))
}

/// Drops zeros behind the decimal point.
fn trim(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

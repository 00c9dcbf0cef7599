//! Every colour of the screen, in one place.
//!
//! Panels name what a thing is (`dim`, `warn`, `line`); only here does that become a colour. Colours come from the
//! 256-colour palette, which every usual terminal has; `NO_COLOR` leaves bold, dim and reversed.

use ratatui::style::{Color, Modifier, Style};

/// Which colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// For dark backgrounds.
    Dark,
    /// For light backgrounds.
    Light,
    /// Okabe and Ito's colours (2008), told apart with any colour vision.
    ColourBlind,
    /// The terminal's own 16 colours.
    Basic,
    /// No colour at all.
    Mono,
}

impl Palette {
    /// Every palette with the word that asks for it.
    pub const ALL: [(&'static str, Self); 5] = [
        ("dark", Self::Dark),
        ("light", Self::Light),
        ("colour-blind", Self::ColourBlind),
        ("16", Self::Basic),
        ("none", Self::Mono),
    ];

    /// The palette that a word asks for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|p| p.1)
    }

    /// The next one, in the order in which the key walks through them.
    pub fn next(self) -> Self {
        let here = Self::ALL.iter().position(|(_, have)| *have == self);
        Self::ALL[here.map_or(0, |at| at + 1) % Self::ALL.len()].1
    }

    /// The palette for a background.
    pub fn on(light: bool) -> Self {
        if light { Self::Light } else { Self::Dark }
    }

    /// Whether it was chosen for a background, of which the terminal may know better.
    pub fn suits_background(self) -> bool {
        matches!(self, Self::Dark | Self::Light)
    }

    /// The palette for an environment: none where `NO_COLOR` is set and not empty, 16 colours on a Linux console, a
    /// light one where `COLORFGBG` says so, else dark.
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        if var("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Self::Mono;
        }
        if matches!(
            var("TERM").as_deref(),
            Some("linux" | "vt100" | "vt220" | "ansi")
        ) {
            return Self::Basic;
        }
        // "foreground;background", where 7 and 15 are white.
        let background = var("COLORFGBG");
        match background.as_deref().and_then(|v| v.rsplit(';').next()) {
            Some("7" | "15") => Self::Light,
            _ => Self::Dark,
        }
    }
}

/// Which colours a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that suit the terminal: light ones on a light background.
    Auto,
    /// These.
    Palette(Palette),
}

impl Wanted {
    /// Every word that asks for colours.
    pub fn words() -> Vec<&'static str> {
        let palettes = Palette::ALL.map(|(word, _)| word);
        std::iter::once("auto").chain(palettes).collect()
    }

    /// What a word asks for.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            word => Palette::parse(word).map(Self::Palette),
        }
    }
}

/// What each kind of thing looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Theme {
    /// Ordinary text.
    pub text: Style,
    /// Text of less weight: units, labels, hints.
    pub dim: Style,
    /// A figure that matters.
    pub strong: Style,
    /// Titles of panels and the screen in use.
    pub title: Style,
    /// Frames and axes.
    pub border: Style,
    /// Keys in footers and help.
    pub key: Style,
    /// The chosen row.
    pub selected: Style,
    /// The smoothed line of a chart, bars, progress.
    pub line: Style,
    /// The band of raw values.
    pub band: Style,
    /// Validation.
    pub point: Style,
    /// The entropy floor.
    pub floor: Style,
    /// The data cursor.
    pub cursor: Style,
    /// All is well.
    pub good: Style,
    /// Worth a look.
    pub warn: Style,
    /// Wrong.
    pub bad: Style,
    /// Colours of a heat map from low to high; empty where shades must do.
    pub heat: &'static [Color],
}

/// Viridis (van der Walt and Smith, 2015) in the 256-colour palette.
const VIRIDIS: [Color; 12] = indexed([53, 54, 60, 24, 30, 36, 35, 71, 77, 113, 148, 226]);
/// The same run of lightness upside down, for light backgrounds.
const VIRIDIS_LIGHT: [Color; 12] = indexed([229, 191, 149, 113, 77, 71, 35, 36, 30, 24, 60, 53]);

const fn indexed<const N: usize>(codes: [u8; N]) -> [Color; N] {
    let mut colors = [Color::Reset; N];
    let mut i = 0;
    while i < N {
        colors[i] = Color::Indexed(codes[i]);
        i += 1;
    }
    colors
}

impl Theme {
    /// The theme of a palette.
    pub fn new(palette: Palette) -> Self {
        match palette {
            Palette::Dark => Self {
                heat: &VIRIDIS,
                ..Self::colored([245, 240, 117, 24, 215, 108, 114, 221, 203], 236)
            },
            Palette::Light => Self {
                heat: &VIRIDIS_LIGHT,
                ..Self::colored([242, 249, 25, 152, 166, 65, 28, 130, 160], 254)
            },
            Palette::ColourBlind => Self {
                heat: &VIRIDIS,
                ..Self::colored([245, 240, 74, 239, 178, 36, 74, 227, 166], 236)
            },
            Palette::Basic => Self::of(
                [
                    Color::Gray,
                    Color::DarkGray,
                    Color::LightCyan,
                    Color::Blue,
                    Color::Yellow,
                    Color::Green,
                    Color::LightGreen,
                    Color::LightYellow,
                    Color::LightRed,
                ],
                Style::new().add_modifier(Modifier::REVERSED),
            ),
            Palette::Mono => Self::mono(),
        }
    }

    /// The palette that it was made of.
    pub fn palette(&self) -> Palette {
        let all = Palette::ALL.map(|(_, palette)| palette);
        let made_of = |palette: &Palette| Self::new(*palette) == *self;
        all.into_iter().find(made_of).unwrap_or(Palette::Dark)
    }

    /// Codes of dim, border, line, band, point, floor, good, warn, bad; then the background of the chosen row.
    fn colored(codes: [u8; 9], selected: u8) -> Self {
        Self::of(indexed(codes), Style::new().bg(Color::Indexed(selected)))
    }

    fn of(colors: [Color; 9], selected: Style) -> Self {
        let [dim, border, line, band, point, floor, good, warn, bad] =
            colors.map(|color| Style::new().fg(color));
        let bold = Modifier::BOLD;
        Self {
            text: Style::new(),
            dim,
            strong: Style::new().add_modifier(bold),
            title: line.add_modifier(bold),
            border,
            key: line.add_modifier(bold),
            selected: selected.add_modifier(bold),
            line,
            band,
            point,
            floor,
            cursor: dim,
            good,
            warn: warn.add_modifier(bold),
            bad: bad.add_modifier(bold),
            heat: &[],
        }
    }

    fn mono() -> Self {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        let dim = plain.add_modifier(Modifier::DIM);
        Self {
            text: plain,
            dim,
            strong: bold,
            title: bold,
            border: plain,
            key: bold,
            selected: plain.add_modifier(Modifier::REVERSED),
            line: bold,
            band: dim,
            point: bold,
            floor: dim,
            cursor: dim,
            good: plain,
            warn: bold,
            bad: bold.add_modifier(Modifier::REVERSED),
            heat: &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_leaves_no_color() {
        let theme = Theme::new(Palette::Mono);
        let styles = [
            theme.text,
            theme.dim,
            theme.strong,
            theme.title,
            theme.border,
            theme.key,
            theme.selected,
            theme.line,
            theme.band,
            theme.point,
            theme.floor,
            theme.cursor,
            theme.good,
            theme.warn,
            theme.bad,
        ];
        assert!(styles.iter().all(|s| s.fg.is_none() && s.bg.is_none()));
        assert!(theme.heat.is_empty());
    }

    #[test]
    fn the_environment_chooses() {
        let with = |pairs: &'static [(&str, &str)]| {
            Palette::detect(|key| {
                let found = pairs.iter().find(|p| p.0 == key);
                found.map(|p| p.1.to_owned())
            })
        };
        assert_eq!(with(&[("NO_COLOR", "1"), ("TERM", "xterm")]), Palette::Mono);
        assert_eq!(with(&[("NO_COLOR", ""), ("TERM", "xterm")]), Palette::Dark);
        assert_eq!(with(&[("TERM", "linux")]), Palette::Basic);
        assert_eq!(with(&[("COLORFGBG", "0;15")]), Palette::Light);
        for (word, palette) in Palette::ALL {
            assert_eq!(Palette::parse(word), Some(palette));
            assert_eq!(Theme::new(palette).palette(), palette);
        }
        assert_eq!(Palette::parse("pink"), None);
        let mut walked = vec![Palette::Dark];
        while walked.len() < Palette::ALL.len() {
            walked.push(walked[walked.len() - 1].next());
        }
        assert_eq!(walked, Palette::ALL.map(|p| p.1));
        assert_eq!(Palette::Mono.next(), Palette::Dark);
    }
}

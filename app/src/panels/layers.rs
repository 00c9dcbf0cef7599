//! Layers over time as a heat map: where activations grow, gradients vanish, updates are too large.
//!
//! Colour is logarithmic over everything that is visible. Several snapshots in one column show their greatest value, so
//! that no outburst is lost (`layers/map.rs`). The chosen layer's course (`layers/course.rs`) and how its values are spread
//! (`layers/histogram.rs`) stand beside the map, or below it where the screen is narrow.

mod course;
mod histogram;
mod map;

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::filter::{self, Filter};
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::lang::Text;
use crate::state::{LayerHistory, Quantity, State};
use crate::view::{Scene, View};
use histogram::Side;
pub use map::{legend, map, shade};

/// Rows of a layer's course, with its frame.
const COURSE: u16 = Quantity::ALL.len() as u16 + 2;
/// From this width on there is a side beside the map.
const WIDE: u16 = 120;
/// From this width on its histograms are twice as wide.
const ROOMY: u16 = 152;

/// The screen; see the module's page.
pub struct Layers {
    quantity: usize,
    /// Whether those that are most unlike their own median come first.
    sorted: bool,
    place: Place,
    shown: Shown,
    filter: Filter,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            quantity: 0,
            sorted: false,
            place: Place::top(),
            shown: Shown::default(),
            filter: Filter::default(),
        }
    }
}

impl Panel for Layers {
    fn title(&self) -> Text {
        Text::new("Layers", "层")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["v", "V"],
                label: Text::new("quantity", "指标"),
                help: Text::new(
                    "next or previous quantity: activation, its max |x|, gradient, weight, update, dead units",
                    "下/上一个指标: 激活, 其最大 |x|, 梯度, 权重, 更新, 死单元",
                ),
            },
            PanelKey {
                keys: &["o"],
                label: Text::new("order", "排序"),
                help: Text::new(
                    "those first that are most unlike their own median; again: in the model's order",
                    "最偏离自身中位数的层在前; 再按恢复模型顺序",
                ),
            },
            filter::KEYS,
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        let num = Quantity::ALL.len();
        let len = self.rows(&state.layers, None).len();
        match key {
            "o" if !self.filter.is_open() => {
                self.sorted = !self.sorted;
                self.place = Place::top();
            }
            _ if self.filter.handle(key, &mut self.place, len) => {}
            "v" => self.quantity = (self.quantity + 1) % num,
            "V" => self.quantity = (self.quantity + num - 1) % num,
            key => return self.place.handle(key, len),
        }
        true
    }

    fn types(&self) -> bool {
        self.filter.is_open()
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn seek(&mut self, name: &str, state: &State) -> bool {
        let layers = &state.layers;
        if !layers.names().iter().any(|known| known == name) {
            return false;
        }
        // It may be filtered away, or have another row at every step.
        (self.filter, self.sorted) = (Filter::default(), false);
        let rows = self.rows(layers, None);
        let row = rows.iter().position(|&layer| layers.names()[layer] == name);
        self.place = row.map_or(self.place, Place::at);
        true
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let rows = self.rows(&scene.state.layers, map::snapshot(scene));
        let quantity = Quantity::ALL[self.quantity];
        let parts = Parts::of(area);
        let mut upper = parts.map;
        self.filter.render(scene.view, &mut upper, buf);
        let list = (rows.as_slice(), Some((self.place, &self.shown)));
        let mut title = self.filter.title();
        if self.sorted {
            title += Text::new("  most unlike first", "  偏离最大者在前").get(scene.view.lang);
        }
        map::draw(scene, quantity, list, &title, upper, buf);
        if let Some(&layer) = rows.get(self.place.row(rows.len())) {
            course::draw(scene, layer, parts.course, buf);
            let both = [Side::Activations, Side::Gradients];
            let one = [Side::of(quantity)];
            let sides = if parts.both { &both[..] } else { &one[..] };
            let mut room = parts.histograms;
            for (at, side) in sides.iter().enumerate() {
                let height = room.height / (sides.len() - at) as u16;
                histogram::draw(scene, layer, *side, Rect { height, ..room }, buf);
                room.y += height;
                room.height -= height;
            }
        }
    }
}

/// Where the map and what is said of the chosen layer lie; what has no room is empty.
struct Parts {
    map: Rect,
    course: Rect,
    histograms: Rect,
    /// Whether there is room for the histograms of activations and of gradients.
    both: bool,
}

impl Parts {
    fn of(area: Rect) -> Self {
        let mut map = area;
        if area.width >= WIDE && area.height >= COURSE + histogram::LEAST.height {
            let width = match area.width {
                ROOMY.. => histogram::DOUBLE,
                _ => area.width * 2 / 5,
            };
            map.width -= width;
            let course = Rect {
                x: map.right(),
                width,
                height: COURSE,
                ..area
            };
            let histograms = Rect {
                y: course.bottom(),
                height: area.height - COURSE,
                ..course
            };
            return Self {
                map,
                course,
                histograms,
                both: histograms.height >= 2 * histogram::LEAST.height,
            };
        }
        let height = match area.height {
            ..16 => 0,
            16..32 => COURSE,
            32.. => COURSE + 4,
        };
        map.height -= height;
        let below = Rect {
            y: map.bottom(),
            height,
            ..area
        };
        // A course needs about as much.
        let width = match area.width {
            width if width >= 2 * histogram::LEAST.width => histogram::LEAST.width,
            _ => 0,
        };
        Self {
            map,
            course: Rect {
                width: area.width - width,
                ..below
            },
            histograms: Rect {
                x: below.right() - width,
                width,
                ..below
            },
            both: false,
        }
    }
}

impl Layers {
    /// The layers that pass the filter, in the order of the screen at a snapshot.
    fn rows(&self, layers: &LayerHistory, snapshot: Option<usize>) -> Vec<usize> {
        let names = layers.names().iter().enumerate();
        let passing = names.filter(|(_, name)| self.filter.passes(&[name]));
        let mut rows: Vec<usize> = passing.map(|(layer, _)| layer).collect();
        if let (true, Some(snapshot)) = (self.sorted, snapshot) {
            let quantity = Quantity::ALL[self.quantity];
            let mut keyed: Vec<(f32, usize)> = rows
                .iter()
                .map(|&layer| (layers.unlike(quantity, layer, snapshot), layer))
                .collect();
            keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            rows = keyed.into_iter().map(|(_, layer)| layer).collect();
        }
        rows
    }
}

//! Statistics of the layers as comma-separated values (RFC 4180): a row a step and layer, as data frames like it.

use super::csv::line;
use super::{ExportError, Format, Place, Source, figure};
use crate::link::{Body, Layers};
use crate::run_folder::index::LineKind;
use std::io::Write;

/// See the module's page.
pub(super) static FORMAT: Format = Format {
    name: "layers-csv",
    doc: "a row a step and layer, the statistics of the layers",
    place: Place::Output,
    write,
};

fn write(source: &Source, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut head = vec!["step".to_owned(), "layer".to_owned()];
    head.extend(Layers::FIGURES.map(str::to_owned));
    line(out, &head)?;
    let mut lines = source.index.lines();
    lines.retain(|line| line.kind == LineKind::Layers);
    // In pieces: a long run's statistics do not fit into memory at once.
    for piece in lines.chunks(1024) {
        for event in source.index.events(piece)? {
            let Body::Layers(layers) = event.body else {
                continue;
            };
            for (at, name) in layers.names.iter().enumerate() {
                let mut cells = vec![layers.step.to_string(), name.clone()];
                // An older record has no value.
                cells.extend(layers.figures().map(|(figure_name, values)| {
                    let value = values.get(at);
                    value.map_or_else(String::new, |value| {
                        if Layers::is_count(figure_name) {
                            (*value as u64).to_string()
                        } else {
                            figure(*value)
                        }
                    })
                }));
                line(out, &cells)?;
            }
        }
    }
    Ok(())
}

//! Frames through a terminal: what a terminal shows after any sequence of frames is the last frame, cell by cell. Only the
//! cells that changed are written, so a wide character that was half overwritten would stay.

use super::fixture::{bench, event, events, hear_all};
use crate::lang::Lang;
use crate::terminal::Painter;
use engine::link::Body;
use kernels::philox::Stream;
use ratatui::layout::Size;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Where frames are written to.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn sample(step: u64, text: &str) -> engine::link::Event {
    event(
        Body::Sample {
            step,
            prompt: "从前".into(),
            text: text.into(),
            readable: None,
        },
        step,
    )
}

#[test]
fn a_terminal_shows_the_last_frame_whatever_came_before() {
    const TEXTS: [&str; 5] = [
        "小狐狸在河边看见一座红房子。",
        "a 小 b 狐 c 狸 d",
        "The small fox sees a red house near the river.",
        "，，，。。。！？",
        "",
    ];
    const KEYS: [&str; 16] = [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "h", "L", "z", "Z", "t", "?", "esc",
    ];
    for (width, height) in [(80, 24), (41, 12), (160, 50)] {
        let (sink, size) = (Sink::default(), Size::new(width, height));
        let mut painter = Painter::new(sink.clone(), size);
        let mut parser = vt100::Parser::new(height, width, 0);
        let mut bench = bench();
        hear_all(&mut bench, &events(300));
        let mut random = Stream::new(5, u64::from(width));
        for frame in 0..150u64 {
            match random.below(4) {
                0 => {
                    let text = TEXTS[random.below(TEXTS.len() as u64) as usize];
                    bench.hear(&sample(300 + frame, text));
                }
                1 if random.below(4) == 0 => {
                    bench.view.lang = match bench.view.lang {
                        Lang::En => Lang::Zh,
                        Lang::Zh => Lang::En,
                    };
                }
                _ => bench.press(KEYS[random.below(KEYS.len() as u64) as usize]),
            }
            painter
                .draw(size, |buffer| bench.render(buffer.area, buffer))
                .unwrap();
            let shown = painter.shown();
            parser.process(&std::mem::take(&mut *sink.0.lock().unwrap()));
            for y in 0..height {
                let mut x = 0;
                while x < width {
                    let want = shown[(x, y)].symbol();
                    let cell = parser.screen().cell(y, x).unwrap();
                    let got = match cell.contents() {
                        "" => " ",
                        text => text,
                    };
                    assert_eq!(got, want, "frame {frame} at ({x}, {y}) of {width}x{height}");
                    x += (crate::text::width(want) as u16).max(1);
                }
            }
        }
    }
}

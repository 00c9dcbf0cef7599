//! What the memory is for, as the plan says.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::lang::Text;
use crate::paint;
use crate::text;
use crate::view::Scene;

/// Bytes by kind with bars, the largest first.
pub fn render(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    let theme = &view.theme;
    let Some(head) = &scene.state.started else {
        paint::frame(
            buf,
            area,
            view,
            &[(Text::new("memory", "内存").get(view.lang), theme.title)],
            &[],
        );
        return;
    };
    let m = &head.memory;
    let total = text::bytes(m.total);
    let title = [
        (Text::new("memory ", "内存 ").get(view.lang), theme.title),
        (&*total, theme.strong),
        (Text::new("  planned", "  计划").get(view.lang), theme.dim),
    ];
    let inner = paint::frame(buf, area, view, &title, &[]);
    let mut kinds = [
        (Text::new("parameters", "参数"), m.parameters),
        (Text::new("gradients", "梯度"), m.gradients),
        (Text::new("optimizer", "优化器"), m.optimizer),
        (Text::new("activations", "激活"), m.activations),
        (Text::new("workspace", "工作区"), m.workspace),
        (Text::new("data", "数据"), m.data),
        (Text::new("runtime", "程序自身"), m.runtime),
    ];
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.1));
    let largest = kinds[0].1.max(1);
    for (row, (name, bytes)) in kinds.into_iter().enumerate() {
        let size = text::fit_right(&text::bytes(bytes), 9);
        let row = row as u16;
        let end = paint::line(
            buf,
            inner,
            row,
            &[
                (" ", theme.text),
                (&text::fit(name.get(view.lang), 12), theme.text),
                (&size, theme.dim),
                (" ", theme.text),
            ],
        );
        if row < inner.height && end + 2 < inner.right() {
            let bar = Rect {
                x: end,
                y: inner.y + row,
                width: inner.right() - end - 1,
                height: 1,
            };
            paint::bar(buf, bar, bytes as f64 / largest as f64, view);
        }
    }
}

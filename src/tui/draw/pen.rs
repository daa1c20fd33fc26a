//! Writes texts into an area: harmless, cut to its width, and never outside.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use crate::tui::{
    look::{Look, Sign, Tone},
    text,
};

/// A part of the screen to write on. Places count from its upper left corner.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    pub look: Look,
}

impl<'a> Pen<'a> {
    pub fn new(buffer: &'a mut Buffer, look: Look, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area, look }
    }

    /// A part of this part.
    pub fn part(&mut self, x: u16, y: u16, width: u16, height: u16) -> Pen<'_> {
        let area = Rect {
            x: self.area.x.saturating_add(x),
            y: self.area.y.saturating_add(y),
            width,
            height,
        };
        Pen {
            area: area.intersection(self.area),
            buffer: self.buffer,
            look: self.look,
        }
    }

    pub fn width(&self) -> u16 {
        self.area.width
    }

    pub fn height(&self) -> u16 {
        self.area.height
    }

    /// The cells themselves, for a widget.
    pub fn cells(&mut self) -> (Rect, &mut Buffer) {
        (self.area, self.buffer)
    }

    /// Writes a text as far as there is room, and returns the column behind it.
    pub fn text(&mut self, x: u16, y: u16, tone: Tone, text: &str) -> u16 {
        self.fitted(x, y, self.width().saturating_sub(x), tone, text)
    }

    /// The same in a given width.
    pub fn fitted(&mut self, x: u16, y: u16, width: u16, tone: Tone, text: &str) -> u16 {
        let width = width.min(self.area.width.saturating_sub(x));
        if y >= self.area.height || width == 0 {
            return x;
        }
        let shown = text::fit(&text::clean(text), usize::from(width), self.look.sign(Sign::Cut));
        let (at_x, at_y) = (self.area.x + x, self.area.y + y);
        let style = self.look.style(tone);
        let (end, _) = self.buffer.set_stringn(at_x, at_y, &shown, usize::from(width), style);
        end - self.area.x
    }

    /// Writes a text that ends at the right edge.
    pub fn text_right(&mut self, y: u16, tone: Tone, text: &str) {
        let wide = u16::try_from(text::width(&text::clean(text))).unwrap_or(u16::MAX);
        self.text(self.width().saturating_sub(wide), y, tone, text);
    }

    /// Turns foreground and background round.
    pub fn reverse(&mut self, x: u16, y: u16, width: u16) {
        let part = self.part(x, y, width, 1);
        let area = part.area;
        part.buffer
            .set_style(area, Style::new().add_modifier(Modifier::REVERSED));
    }

    /// Wipes the part.
    pub fn clear(&mut self) {
        for position in self.area.positions() {
            self.buffer[position].reset();
        }
    }
}

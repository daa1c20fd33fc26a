//! The terminal: taken over, painted on and given back, whatever ends Petit.
//!
//! Only cells that differ from the last frame are written, inside a synchronized update, and nothing at all when none does:
//! so an idle screen is silent. ratatui's own `Terminal` is not used, because it hides the cursor anew with every frame and
//! asks the terminal where the cursor is when it clears, which races with whoever reads the keys.

use std::{
    io::{self, Stdout, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{
    clipboard::CopyToClipboard,
    cursor, execute, queue,
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
        disable_raw_mode, enable_raw_mode, size,
    },
};
use ratatui::{
    backend::{Backend, CrosstermBackend},
    buffer::Buffer,
    layout::Rect,
};
use tokio::sync::Notify;

/// A terminal that is taken over until this is dropped, or until a panic anywhere.
pub struct Terminal {
    backend: CrosstermBackend<Stdout>,
    shown: Buffer,
}

/// Whether there is something to give back: a panic and the end of the screens both want to, and only one must.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Terminal {
    /// Takes the terminal over. A panic in any thread gives it back before its message is printed, and tells `panicked`.
    pub fn take(panicked: Arc<Notify>) -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            panicked.notify_one();
            before(panic);
        }));
        let mut terminal = Self {
            backend: CrosstermBackend::new(io::stdout()),
            shown: Buffer::empty(Rect::ZERO),
        };
        terminal.take_again()?;
        Ok(terminal)
    }

    /// Gives the terminal to another program, until it is taken again.
    pub fn lend(&mut self) {
        give_back();
    }

    /// Takes the terminal again; the next frame is written whole, whatever the other program left there.
    pub fn take_again(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        self.shown = Buffer::empty(Rect::ZERO);
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
    }

    /// Puts a text into the clipboard of whoever sits before the terminal, through the terminal itself: OSC 52. One that
    /// does not know it does nothing.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(self.backend, CopyToClipboard::to_clipboard_from(text))
    }

    /// Columns and rows.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        size()
    }

    /// Shows a frame.
    pub fn show(&mut self, frame: Buffer) -> io::Result<()> {
        if frame == self.shown {
            return Ok(());
        }
        queue!(self.backend, BeginSynchronizedUpdate)?;
        if frame.area != self.shown.area {
            queue!(self.backend, Clear(ClearType::All))?;
            self.shown = Buffer::empty(frame.area);
        }
        self.backend.draw(self.shown.diff(&frame).into_iter())?;
        queue!(self.backend, EndSynchronizedUpdate)?;
        Write::flush(&mut self.backend)?;
        self.shown = frame;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. There is nobody left to tell if that fails.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), EndSynchronizedUpdate, LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}

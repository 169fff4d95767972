//! The bars on a terminal: the whole, what became of it, and the files in flight. Lines of the log are printed above them.

use std::io::{IsTerminal as _, Write as _};

use cli::progress::grouped;
use console::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::view::{InFlight, View};

/// So many files in flight are shown; of the others it is said how many they are.
const FILES: usize = 4;

/// A bar that is only a line of text, cut where the terminal ends.
const LINE: &str = "{wide_msg}";

/// The bars.
#[derive(Debug)]
pub(crate) struct Screen {
    printer: Printer,
    whole: ProgressBar,
    amounts: ProgressBar,
    became: ProgressBar,
    /// As many as there is something to say of.
    files: Vec<ProgressBar>,
}

/// Prints lines above the bars.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    bars: MultiProgress,
    color: bool,
}

impl Screen {
    /// Draws on stderr; without a terminal nothing is drawn.
    pub(crate) fn new(profile: &str) -> Self {
        // https://no-color.org: whatever its value, unless that is empty.
        let color =
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        console::set_colors_enabled_stderr(color);
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let printer = Printer { bars, color };
        let whole = printer.bar("{prefix} [{wide_bar:.cyan}] {msg}");
        whole.set_length(1000);
        whole.set_prefix(profile.to_owned());
        let (amounts, became) = (printer.bar(LINE), printer.bar(LINE));
        Self { printer, whole, amounts, became, files: Vec::new() }
    }

    /// Who prints above the bars.
    pub(crate) fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// Shows how far the run is.
    pub(crate) fn draw(&mut self, view: &View) {
        let percent = view.percent.unwrap_or(0.0);
        // Between 0 and 1000.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the bar")]
        self.whole.set_position((percent * 10.0) as u64);
        let known = view.percent.map(|percent| format!("{percent:.0}%"));
        let parts: Vec<_> = [known, view.left()].into_iter().flatten().collect();
        self.whole.set_message(parts.join(", "));
        if view.started.is_none() {
            self.amounts.set_message("  looking for what there is to do");
            return;
        }
        self.amounts.set_message(format!("  {}", view.done().join(", ")));
        let became: Vec<_> = view.became().into_iter().map(|part| self.colored(part)).collect();
        self.became.set_message(format!("  {}", became.join(", ")));
        let mut lines: Vec<_> = view.files.iter().rev().take(FILES).rev().map(of_file).collect();
        let hidden = view.files.len() - lines.len();
        if hidden > 0 {
            lines.insert(0, format!("  {hidden} more files that are read, to be written"));
        }
        for bar in self.files.drain(lines.len().min(self.files.len())..) {
            self.printer.bars.remove(&bar);
        }
        while self.files.len() < lines.len() {
            self.files.push(self.printer.bar(LINE));
        }
        for (bar, line) in self.files.iter().zip(lines) {
            bar.set_message(line);
        }
    }

    /// Rejects, suppressed rows and retries catch the eye.
    fn colored(&self, part: String) -> String {
        let red = [" rejected", " suppressed", " failed"].iter().any(|end| part.ends_with(end));
        let yellow = part.ends_with(" retry") || part.ends_with(" retries");
        match (red, yellow) {
            (true, _) => self.printer.painted(&part, Style::new().red()),
            (_, true) => self.printer.painted(&part, Style::new().yellow()),
            _ => part,
        }
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        for bar in self.files.iter().chain([&self.became, &self.amounts, &self.whole]) {
            bar.finish_and_clear();
        }
        // The terminal may be gone.
        let _ = self.printer.bars.clear();
    }
}

impl Printer {
    /// A further bar below the others.
    fn bar(&self, template: &str) -> ProgressBar {
        // The templates are written here: one that cannot be read becomes the library's own.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(0));
        bar.set_style(style.progress_chars("=> "));
        bar
    }

    fn painted(&self, text: &str, style: Style) -> String {
        style.force_styling(self.color).apply_to(text).to_string()
    }

    /// Prints a line above the bars; warnings and errors in their colours.
    pub(crate) fn print(&self, line: &str) {
        let text = match line.split(' ').nth(1) {
            Some("WARN") => self.painted(line, Style::new().yellow()),
            Some("ERROR") => self.painted(line, Style::new().red()),
            _ => line.to_owned(),
        };
        self.bars.suspend(|| {
            // The terminal may be gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}

/// `  data/a.json.gz: 30,000 of 100,000 items`
fn of_file(file: &InFlight) -> String {
    let name = file.file_name.rsplit('/').next().unwrap_or(&file.file_name);
    let items = match file.item_count {
        Some(items) => format!("{} of {} items", grouped(file.items_read), grouped(items)),
        None => format!("{} items", grouped(file.items_read)),
    };
    format!("  {name}: {items}")
}

//! Log lines on standard error.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt as _,
    filter::filter_fn,
    fmt::{self, MakeWriter, format},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::{Printable, PrintableJson};
use crate::config::LogFormat;

/// Starts logging to standard error for the whole process. `filter` is in `tracing`'s filter language. A second
/// call changes nothing.
pub(crate) fn start_logging(filter: &str, format: LogFormat) -> Result<(), String> {
    // The original reason quotes the filter.
    let filter = EnvFilter::try_new(filter).map_err(
        |_| "must be a level, or levels by module, for example warn,tidegate::feed=debug",
    )?;
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(may_be_told));
    let started = match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(text(io::stderr, colours)).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(|| JsonLines(io::stderr()));
            registry.with(layer).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started already");
    }
    Ok(())
}

/// Whether a line may be written, whatever the setting asks for. Libraries show requests with their headers at finer levels,
/// and so credentials.
fn may_be_told(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || *metadata.level() <= Level::INFO
}

/// Writes lines for people. Text of a message or a field stays on its line, and cannot control a terminal.
fn text<S, W>(writer: W, colours: bool) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    let fields = format::debug_fn(|line, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(line, "{}", Printable(&text)),
            name => write!(line, "{name}={}", Printable(&text)),
        }
    });
    fmt::layer()
        .fmt_fields(fields.delimited(" "))
        .with_writer(writer)
        .with_ansi(colours)
}

/// Writes lines of JSON, each with one call. Escapes characters that JSON allows but terminals obey.
struct JsonLines<W>(W);

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        writeln!(self.0, "{}", PrintableJson(text.trim_end()))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::printable::steers;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_json_steers_no_terminal_and_says_the_same() {
        let mut lines = JsonLines(Vec::new());
        let value = serde_json::json!({"message": "\u{9b}31m\u{7f}\u{202e}\n"});
        io::Write::write_all(&mut lines, format!("{value}\n").as_bytes()).unwrap();
        let text = String::from_utf8(lines.0).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(steers), "{line:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(line).unwrap(),
            value
        );
    }

    #[test]
    fn no_field_makes_a_second_line_or_steers_a_terminal() {
        const FOREIGN: &str = "a\nINFO forged\r\u{1b}[2J\u{9b}\u{7f}\u{202e}z";
        let lines = Lines::default();
        let written = lines.clone();
        let layer = text(move || written.clone(), false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("request", path = %FOREIGN, agent = FOREIGN);
            let _within = span.enter();
            let error = io::Error::other(FOREIGN);
            tracing::info!(shown = %FOREIGN, debugged = ?FOREIGN, text = FOREIGN, %error, "said {FOREIGN}");
            tracing::info!(error = &error as &dyn std::error::Error, n = 5, "plain ä");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for line in &lines {
            assert!(!line.contains(steers), "{line:?}");
        }
        assert!(lines[0].contains(r"said a\nINFO forged"), "{text}");
        assert!(
            lines[1].contains("plain ä") && lines[1].contains("n=5"),
            "{text}"
        );
    }
}

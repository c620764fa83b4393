//! The table for people, column for column llama-bench's.

use super::Exporter;
use crate::commands::bench::plan::Varies;
use crate::commands::bench::row::{Build, Row};
use llama_turboquant::measure::stats;

/// A column: its title, least width, side, and text.
struct Column {
    title: String,
    width: usize,
    left: bool,
    text: fn(&Row) -> String,
}

pub struct Markdown {
    build: Build,
    columns: Vec<Column>,
}

const MIB: f64 = 1024.0 * 1024.0;

fn right(title: &str, width: usize, text: fn(&Row) -> String) -> Column {
    Column {
        title: title.into(),
        width,
        left: false,
        text,
    }
}

fn left(title: &str, width: usize, text: fn(&Row) -> String) -> Column {
    Column {
        left: true,
        ..right(title, width, text)
    }
}

fn size(row: &Row) -> String {
    let bytes = row.model_size as f64;
    if row.model_size < 1 << 30 {
        format!("{:.2} MiB", bytes / MIB)
    } else {
        format!("{:.2} GiB", bytes / MIB / 1024.0)
    }
}

fn params(row: &Row) -> String {
    let n = row.model_n_params as f64;
    if row.model_n_params < 1_000_000_000 {
        format!("{:.2} M", n / 1e6)
    } else {
        format!("{:.2} B", n / 1e9)
    }
}

fn speed(row: &Row) -> String {
    let ts = row.speed.tokens_per_second();
    format!("{:.2} ± {:.2}", stats::mean(&ts), stats::standard_deviation(&ts))
}

/// A number, or a dash where there is none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.decimals$}"))
}

fn mib(bytes: Option<u64>) -> String {
    number(bytes.map(|bytes| bytes as f64 / MIB), 1)
}

fn ratio(row: &Row) -> String {
    match (&row.comparison, row.ratio()) {
        (None, _) => "-".into(),
        (Some(_), None) => "baseline".into(),
        (Some(_), Some(ratio)) => format!("{:.3} [{:.3}, {:.3}]", ratio.estimate, ratio.low, ratio.high),
    }
}

impl Markdown {
    pub fn new(build: Build, varies: Varies, extra: bool) -> Self {
        let mut columns = vec![
            left("model", 30, |row| row.model_type.clone()),
            right("size", 10, size),
            right("params", 10, params),
            left("backend", 10, |row| row.build.backends.clone()),
        ];
        let mut add = |wanted: bool, column: Column| {
            if wanted {
                columns.push(column);
            }
        };
        let ngl = |row: &Row| row.gpu_layers.map_or(-1, i64::from).to_string();
        add(!build.is_cpu(), right("ngl", 3, ngl));
        add(
            varies.n_threads || build.is_cpu(),
            right("threads", 7, |row| row.speed.facts.n_threads.to_string()),
        );
        add(varies.n_batch, right("n_batch", 7, |row| row.n_batch.to_string()));
        add(varies.n_ubatch, right("n_ubatch", 8, |row| row.n_ubatch.to_string()));
        add(varies.type_k, right("type_k", 6, |row| row.type_k().to_string()));
        add(varies.type_v, right("type_v", 6, |row| row.type_v().to_string()));
        let mode = |row: &Row| row.cache.mode.map_or("-".into(), |mode| mode.to_string());
        add(varies.mode, right("mode", 4, mode));
        let nkvo = |row: &Row| u8::from(row.no_kv_offload).to_string();
        add(varies.no_kv_offload, right("nkvo", 13, nkvo));
        add(varies.flash_attn, right("fa", 3, |row| row.flash_attn.to_string()));
        add(varies.load_mode, right("lm", 10, |row| row.load_mode.to_owned()));
        add(true, right("test", 15, |row| row.test().to_string()));
        add(true, right("t/s", 20, speed));
        add(extra, right("ratio", 22, ratio));
        add(extra, right("KV MiB", 8, |row| mib(Some(row.speed.facts.kv.total()))));
        add(
            extra,
            right("B/tok", 7, |row| row.speed.facts.kv_bytes_per_token.to_string()),
        );
        add(extra, right("TTFT ms", 8, |row| number(row.speed.first_token_ms(), 1)));
        add(
            extra,
            right("ITL p50 ms", 10, |row| {
                number(row.speed.latency().map(|it| it.p50_ms), 2)
            }),
        );
        add(
            extra,
            right("p95 ms", 8, |row| number(row.speed.latency().map(|it| it.p95_ms), 2)),
        );
        add(extra, right("RSS MiB", 8, |row| mib(row.speed.facts.rss_peak)));
        add(extra, right("predicted", 9, |row| mib(row.speed.facts.rss_predicted)));
        add(
            extra,
            left("attention", 21, |row| row.speed.facts.attention.to_string()),
        );
        Self { build, columns }
    }

    fn line(&self, text: impl Fn(&Column) -> String) -> String {
        let mut line = String::from("|");
        for column in &self.columns {
            let (text, width) = (text(column), column.width);
            if column.left {
                line += &format!(" {text:<width$} |");
            } else {
                line += &format!(" {text:>width$} |");
            }
        }
        line + "\n"
    }
}

impl Exporter for Markdown {
    fn header(&mut self) -> String {
        let rule = |column: &Column| {
            let end = if column.left { "-" } else { ":" };
            "-".repeat(column.width - 1) + end
        };
        self.line(|column| column.title.clone()) + &self.line(rule)
    }

    fn row(&mut self, row: &Row) -> String {
        self.line(|column| (column.text)(row))
    }

    fn footer(&mut self) -> String {
        format!("\nbuild: {} ({})\n", self.build.commit, self.build.number)
    }
}

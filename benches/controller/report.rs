//! What was measured, as a table, and the document that keeps it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Keeps the last full run, between these two lines.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const BEGIN: &str = "<!-- make bench writes from here -->";
const END: &str = "<!-- to here -->";

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub measured: String,
    /// The same without our work, measured in the same run; empty where there is nothing to compare with.
    pub baseline: String,
    pub ratio: Option<f64>,
    pub wanted: String,
    /// None: told, not judged.
    pub met: Option<bool>,
}

impl Row {
    /// A figure that is only told.
    pub fn told(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), baseline: String::new(), ratio: None, wanted: String::new(), met: None }
    }

    pub fn beside(mut self, baseline: impl Into<String>, ratio: f64) -> Self {
        (self.baseline, self.ratio) = (baseline.into(), Some(ratio));
        self
    }

    pub fn wanted(mut self, wanted: impl Into<String>, met: bool) -> Self {
        (self.wanted, self.met) = (wanted.into(), Some(met));
        self
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let met = self.met.map_or("", |met| if met { "yes" } else { "no" });
        [self.what.clone(), self.measured.clone(), self.baseline.clone(), ratio, self.wanted.clone(), met.to_owned()]
    }
}

/// The table, for people and for Markdown alike.
pub fn table(rows: &[Row]) -> String {
    let head = ["what", "measured", "baseline", "ratio", "wanted", "met"].map(str::to_owned);
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut lines: Vec<_> = cells
        .iter()
        .map(|row| {
            let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("| {} |", padded.join(" | "))
        })
        .collect();
    let rule = widths.map(|width| "-".repeat(width)).join(" | ");
    lines.insert(1, format!("| {rule} |"));
    lines.join("\n")
}

/// Replaces what the document says of the last run.
pub fn keep(text: &str) -> Result<()> {
    let document = fs::read_to_string(DOCUMENT).context("failed to read docs/performance.md")?;
    let (head, rest) = document.split_once(BEGIN).context("docs/performance.md lacks the line where the results begin")?;
    let (_, tail) = rest.split_once(END).context("docs/performance.md lacks the line where the results end")?;
    fs::write(DOCUMENT, format!("{head}{BEGIN}\n{text}\n{END}{tail}")).context("failed to write docs/performance.md")
}

/// The middle one; of an even number the lower middle.
pub fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// The least value that this share of all does not exceed.
pub fn percentile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied().unwrap_or_default()
}

pub fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

pub fn milliseconds(took: Duration) -> String {
    let milliseconds = took.as_secs_f64() * 1_000.0;
    if milliseconds < 10.0 { format!("{milliseconds:.2} ms") } else { format!("{milliseconds:.0} ms") }
}

pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

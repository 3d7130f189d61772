//! The table in short, as docs/performance.md has it: a line a limit, a column a load.

use crate::arrivals::Pattern;
use crate::cells::{Accuracy, Cell, Figures, Weather};
use crate::scene::Model;

/// Lines in Markdown: of each cell in fair weather the share of what an ideal bucket admits, and writes a request.
pub(crate) fn grid(played: &[(Cell, Figures)]) -> Vec<String> {
    let mut lines = Vec::new();
    let fair: Vec<_> = played.iter().filter(|(cell, _)| cell.weather == Weather::Fair).collect();
    for (first, _) in &fair {
        let same = |cell: &Cell| (cell.model, cell.rate, cell.accuracy) == (first.model, first.rate, first.accuracy);
        let row: Vec<_> = fair.iter().filter(|(cell, _)| same(cell)).collect();
        if row.first().is_none_or(|(cell, _)| cell.load != first.load || cell.pattern != first.pattern) {
            continue;
        }
        if lines.is_empty() {
            let loads = row.iter().map(|(cell, _)| match cell.pattern {
                Pattern::Steady => format!(" {}× |", cell.load),
                Pattern::Bursty => format!(" bursts, {}× |", cell.load),
            });
            lines.push(format!("| environments | limit |{}", loads.collect::<String>()));
            lines.push(format!("| --- | --- |{}", " --- |".repeat(row.len())));
        }
        let environments = match first.model {
            Model::Lambda => "as Lambda makes them".to_owned(),
            Model::Many(many) => many.to_string(),
        };
        let exact = if first.accuracy == Accuracy::Exact { ", exact" } else { "" };
        let cells = row.iter().map(|(_, figures)| format!(" {:.3}, {:.2} |", figures.share, figures.writes));
        lines.push(format!("| {environments} | {}/s{exact} |{}", first.rate, cells.collect::<String>()));
    }
    lines
}

//! The table in short, as docs/performance.md has it: a line a limit, a column a load.

use crate::arrivals::Pattern;
use crate::cells::{Accuracy, Cell, Figures, LOADS, Weather};
use crate::scene::Model;

/// Lines in Markdown: of each cell in fair weather the share of what an ideal bucket admits, and writes a request.
pub(crate) fn grid(played: &[(Cell, Figures)]) -> Vec<String> {
    let loads = LOADS.map(|(pattern, load)| match pattern {
        Pattern::Steady => format!(" {load}× |"),
        Pattern::Bursty => format!(" bursts, {load}× |"),
    });
    let mut lines = vec![
        format!("| environments | limit |{}", loads.concat()),
        format!("| --- | --- |{}", " --- |".repeat(loads.len())),
    ];
    let mut fair: Vec<_> = played.iter().filter(|(cell, _)| cell.weather == Weather::Fair).collect();
    while let Some((first, _)) = fair.first().copied() {
        let key = |cell: &Cell| (cell.model, cell.rate, cell.accuracy);
        let (row, others): (Vec<&(Cell, Figures)>, Vec<_>) =
            fair.into_iter().partition(|one| key(&one.0) == key(first));
        let cells = LOADS.map(|load| {
            let found = row.iter().find(|(cell, _)| (cell.pattern, cell.load) == load);
            found.map_or(" |".to_owned(), |(_, figures)| format!(" {:.3}, {:.2} |", figures.share, figures.writes))
        });
        let environments = match first.model {
            Model::Lambda => "as Lambda makes them".to_owned(),
            Model::Many(many) => many.to_string(),
        };
        let exact = if first.accuracy == Accuracy::Exact { ", exact" } else { "" };
        lines.push(format!("| {environments} | {}/s{exact} |{}", first.rate, cells.concat()));
        fair = others;
    }
    lines
}

//! Aligned columns for people.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table};

use crate::error::CliError;
use crate::output::{Output, terminal_width};

/// Aligned columns, without a line end. On a terminal a row takes one line: the last column is cut.
pub(crate) fn text<const N: usize>(
    header: Option<[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let width = terminal_width();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if let Some(header) = header {
        table.set_header(header);
    }
    // What cannot be seen need not be laid out.
    let last_chars = width.map_or(usize::MAX, usize::from);
    for mut cells in rows {
        if let Some(last) = cells.last_mut()
            && let Some((cut, _)) = last.char_indices().nth(last_chars)
        {
            last.truncate(cut);
        }
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        // The last takes what the others leave.
        for column in table.column_iter_mut().take(N.saturating_sub(1)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// Prints a listing: the header too, unless there is nothing below it.
pub(crate) fn print<const N: usize>(
    header: [&str; N],
    rows: Vec<[String; N]>,
) -> Result<(), CliError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut output = Output::new();
    output.line(text(Some(header), rows))?;
    output.flush()
}

//! Rows wherever their cells lie: in a piece of memory of their own, in the line that they came in, among others that wait.

use crate::row::{NULL, RowView, Rows};

/// A row to look at.
pub trait Cells: Copy {
    /// How many cells there are.
    fn count(&self) -> usize;

    /// The JSON text of a cell; [`NULL`] where there is none.
    fn cell(&self, index: usize) -> &str;

    /// The same as bytes: cheaper where nobody has to know that they are text.
    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        self.cell(index).as_bytes()
    }

    /// What stands in front of a cell, if its column's name does.
    fn opening(&self, _: usize) -> Option<&str> {
        None
    }

    /// Every cell.
    #[inline]
    fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.count()).map(|index| self.cell(index))
    }

    /// Adds the row to others.
    fn add_to(&self, rows: &mut Rows) {
        rows.push_cells(self.cells());
    }
}

impl Cells for RowView<'_> {
    fn count(&self) -> usize {
        RowView::count(*self)
    }

    #[inline]
    fn cell(&self, index: usize) -> &str {
        RowView::cell(*self, index)
    }

    fn opening(&self, index: usize) -> Option<&str> {
        RowView::opening(*self, index)
    }

    fn add_to(&self, rows: &mut Rows) {
        rows.push(*self);
    }
}

impl Cells for &[&str] {
    fn count(&self) -> usize {
        self.len()
    }

    #[inline]
    fn cell(&self, index: usize) -> &str {
        self.get(index).copied().unwrap_or(NULL)
    }
}

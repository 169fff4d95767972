//! A row as it travels: the JSON text of each column, in the order of the schema. What the columns mean is in `schema`,
//! how two rows become one in `policy`.

/// The text of a cell that is SQL's NULL.
pub const NULL: &str = "null";

/// What stands in front of the cell of a column in a row that is a JSON object: `{"id":`, `,"path":`.
pub fn opening(column: &str, place: usize) -> String {
    format!("{}{}:", if place == 0 { '{' } else { ',' }, serde_json::Value::from(column))
}

/// Where a cell begins and ends in the text of its row.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: u32,
    end: u32,
}

impl Bounds {
    fn of(start: usize, end: usize) -> Self {
        // A line of the stream has at most 32 MiB.
        let [start, end] = [start, end].map(|place| u32::try_from(place).unwrap_or(u32::MAX));
        Self { start, end }
    }
}

/// The JSON texts of one row's cells, in one piece of memory. Each may have its column's name in front.
#[derive(Clone, Debug, Default)]
pub struct Row {
    text: String,
    cells: Vec<Bounds>,
    /// Where the cell begins that is composed.
    start: usize,
}

/// Rows are equal whose cells are.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.cells().eq(other.cells())
    }
}

impl Eq for Row {}

impl Row {
    /// A row of these cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a str>) -> Self {
        let mut row = Self::default();
        for cell in cells {
            row.push(cell);
        }
        row
    }

    /// Adds the next cell: JSON text without line breaks; [`NULL`] for SQL's NULL.
    pub fn push(&mut self, json: &str) {
        self.compose().push_str(json);
        self.end_cell();
    }

    /// Puts what [`opening`] says in front of the next cell.
    #[inline]
    pub fn open(&mut self, opening: &str) {
        self.text.push_str(opening);
    }

    /// Adds the cells of another row, with what stands in front of them.
    pub fn append(&mut self, cells: RowView<'_>) {
        let before = self.text.len();
        self.text.push_str(cells.text);
        let moved = |bounds: &Bounds| Bounds::of(before + bounds.start as usize, before + bounds.end as usize);
        self.cells.extend(cells.cells.iter().map(moved));
    }

    /// Lends the memory to write the next cell's JSON text in place; [`Row::end_cell`] must follow.
    #[inline]
    pub fn compose(&mut self) -> &mut String {
        self.start = self.text.len();
        &mut self.text
    }

    /// Ends the cell that was composed.
    #[inline]
    pub fn end_cell(&mut self) {
        self.cells.push(Bounds::of(self.start, self.text.len()));
    }

    /// The row to look at.
    pub fn view(&self) -> RowView<'_> {
        RowView { text: &self.text, cells: &self.cells }
    }

    /// The JSON text of a cell; [`NULL`] where there is none.
    pub fn cell(&self, index: usize) -> &str {
        self.view().cell(index)
    }

    /// Every cell.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.view().cells()
    }

    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
    }
}

/// A row that lies in somebody's memory.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    text: &'a str,
    cells: &'a [Bounds],
}

impl<'a> RowView<'a> {
    /// The JSON text of a cell; [`NULL`] where there is none.
    #[inline]
    pub fn cell(self, index: usize) -> &'a str {
        self.cells.get(index).map_or(NULL, |cell| &self.text[cell.start as usize..cell.end as usize])
    }

    /// Every cell.
    #[inline]
    pub fn cells(self) -> impl Iterator<Item = &'a str> {
        self.cells.iter().map(move |cell| &self.text[cell.start as usize..cell.end as usize])
    }

    /// How many cells there are.
    pub fn count(self) -> usize {
        self.cells.len()
    }

    /// Its cells, one after the other, with what stands in front of them.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// What stands in front of a cell, if its column's name does.
    pub fn opening(self, index: usize) -> Option<&'a str> {
        let cell = self.cells.get(index)?;
        let before = index.checked_sub(1).map_or(0, |before| self.cells[before].end);
        let opening = &self.text[before as usize..cell.start as usize];
        (!opening.is_empty()).then_some(opening)
    }

    /// The bytes of that text.
    pub fn text_size(self) -> usize {
        self.text.len()
    }

    /// The row in memory of its own.
    pub fn to_row(self) -> Row {
        Row { text: self.text.to_owned(), cells: self.cells.to_vec(), start: 0 }
    }
}

/// Where a row of [`Rows`] lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    text: usize,
    text_end: usize,
    cells: usize,
    cells_end: usize,
}

/// Many rows in one piece of memory.
#[derive(Debug, Default)]
pub struct Rows {
    text: String,
    cells: Vec<Bounds>,
    /// Where the text and the cells of each row end.
    bounds: Vec<(usize, usize)>,
}

impl Rows {
    /// Adds a row.
    pub fn push(&mut self, row: RowView<'_>) {
        self.text.push_str(row.text);
        self.cells.extend_from_slice(row.cells);
        self.bounds.push((self.text.len(), self.cells.len()));
    }

    /// Adds a row of these cells.
    pub fn push_cells<'c>(&mut self, cells: impl Iterator<Item = &'c str>) {
        let (before, mut start) = (self.text.len(), 0);
        for cell in cells {
            self.text.push_str(cell);
            let end = self.text.len() - before;
            self.cells.push(Bounds::of(start, end));
            start = end;
        }
        self.bounds.push((self.text.len(), self.cells.len()));
    }

    /// One of the rows, in the order in which they came.
    pub fn get(&self, index: usize) -> RowView<'_> {
        self.at(self.place(index))
    }

    /// Where one of the rows lies, for [`Rows::at`]: quicker for who looks at it again.
    pub fn place(&self, index: usize) -> Place {
        let (text, cells) = index.checked_sub(1).map_or((0, 0), |before| self.bounds[before]);
        let (text_end, cells_end) = self.bounds[index];
        Place { text, text_end, cells, cells_end }
    }

    /// The row in a place.
    pub fn at(&self, place: Place) -> RowView<'_> {
        RowView { text: &self.text[place.text..place.text_end], cells: &self.cells[place.cells..place.cells_end] }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bounds.len()
    }

    /// The bytes that they take.
    pub fn size(&self) -> usize {
        self.text.len() + size_of_val(self.cells.as_slice()) + size_of_val(self.bounds.as_slice())
    }

    /// Leaves none, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
        self.bounds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_the_same_with_and_without_names() {
        let (mut row, mut fixed) = (Row::default(), Row::default());
        for (place, (name, cell)) in [("id", "1"), ("a \"b\"", "null")].into_iter().enumerate() {
            row.open(&opening(name, place));
            row.push(cell);
        }
        fixed.open(&opening("j", 2));
        fixed.push("[]");
        row.append(fixed.view());

        assert_eq!(row.view().text(), r#"{"id":1,"a \"b\"":null,"j":[]"#);
        assert_eq!([0, 2, 9].map(|index| row.view().opening(index)), [Some("{\"id\":"), Some(",\"j\":"), None]);
        assert_eq!(row.cells().collect::<Vec<_>>(), ["1", "null", "[]"]);
        assert_eq!(row.cell(3), NULL);

        let without = Row::of(["{}", "", "2"]);
        assert_eq!([0, 1].map(|index| without.view().opening(index)), [None, None]);
        let mut rows = Rows::default();
        rows.push(row.view());
        rows.push_cells(without.cells());
        assert_eq!(rows.get(0).text(), row.view().text());
        assert_eq!(rows.get(1).cells().collect::<Vec<_>>(), ["{}", "", "2"]);
    }
}

//! A row as it travels: the JSON text of each column, in the order of the schema. What the columns mean is in `schema`,
//! how two rows become one in `policy`.

/// The text of a cell that is SQL's NULL.
pub const NULL: &str = "null";

/// The JSON texts of one row's cells, in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    text: String,
    ends: Vec<u32>,
}

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
        self.text.push_str(json);
        self.end_cell();
    }

    /// Adds the cells of another row.
    pub fn append(&mut self, cells: RowView<'_>) {
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(cells.text);
        self.ends.extend(cells.ends.iter().map(|end| start.saturating_add(*end)));
    }

    /// Lends the memory to write the next cell's JSON text in place; [`Row::end_cell`] must follow.
    pub fn compose(&mut self) -> &mut String {
        &mut self.text
    }

    /// Ends the cell that was composed.
    pub fn end_cell(&mut self) {
        // A line of the stream has at most 32 MiB.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// The row to look at.
    pub fn view(&self) -> RowView<'_> {
        RowView { text: &self.text, ends: &self.ends }
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
        self.ends.clear();
    }
}

/// A row that lies in somebody's memory.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    text: &'a str,
    ends: &'a [u32],
}

impl<'a> RowView<'a> {
    /// The JSON text of a cell; [`NULL`] where there is none.
    pub fn cell(self, index: usize) -> &'a str {
        let Some(&end) = self.ends.get(index) else { return NULL };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..end as usize]
    }

    /// Every cell.
    #[inline]
    pub fn cells(self) -> impl Iterator<Item = &'a str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let cell = &self.text[start..end as usize];
            start = end as usize;
            cell
        })
    }

    /// How many cells there are.
    pub fn count(self) -> usize {
        self.ends.len()
    }

    /// Its cells, one after the other.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// The bytes of its cells.
    pub fn text_size(self) -> usize {
        self.text.len()
    }

    /// The row in memory of its own.
    pub fn to_row(self) -> Row {
        Row { text: self.text.to_owned(), ends: self.ends.to_vec() }
    }
}

/// Where a row of [`Rows`] lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    text: usize,
    text_end: usize,
    ends: usize,
    ends_end: usize,
}

/// Many rows in one piece of memory.
#[derive(Debug, Default)]
pub struct Rows {
    text: String,
    ends: Vec<u32>,
    /// Where the text and the ends of each row end.
    bounds: Vec<(usize, usize)>,
}

impl Rows {
    /// Adds a row.
    pub fn push(&mut self, row: RowView<'_>) {
        self.text.push_str(row.text);
        self.ends.extend_from_slice(row.ends);
        self.bounds.push((self.text.len(), self.ends.len()));
    }

    /// Adds a row of these cells.
    pub fn push_cells<'c>(&mut self, cells: impl Iterator<Item = &'c str>) {
        let start = self.text.len();
        for cell in cells {
            self.text.push_str(cell);
            self.ends.push(u32::try_from(self.text.len() - start).unwrap_or(u32::MAX));
        }
        self.bounds.push((self.text.len(), self.ends.len()));
    }

    /// One of the rows, in the order in which they came.
    pub fn get(&self, index: usize) -> RowView<'_> {
        self.at(self.place(index))
    }

    /// Where one of the rows lies, for [`Rows::at`]: quicker for who looks at it again.
    pub fn place(&self, index: usize) -> Place {
        let (text, ends) = index.checked_sub(1).map_or((0, 0), |before| self.bounds[before]);
        let (text_end, ends_end) = self.bounds[index];
        Place { text, text_end, ends, ends_end }
    }

    /// The row in a place.
    pub fn at(&self, place: Place) -> RowView<'_> {
        RowView { text: &self.text[place.text..place.text_end], ends: &self.ends[place.ends..place.ends_end] }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bounds.len()
    }

    /// The bytes that they take.
    pub fn size(&self) -> usize {
        self.text.len() + size_of_val(self.ends.as_slice()) + size_of_val(self.bounds.as_slice())
    }

    /// Leaves none, and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.bounds.clear();
    }
}

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
    /// An empty row with room for that many columns.
    pub fn with_capacity(columns: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(columns) }
    }

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

    /// Lends the memory to write the next cell's JSON text in place; [`Row::end_cell`] must follow.
    pub fn compose(&mut self) -> &mut String {
        &mut self.text
    }

    /// Ends the cell that was composed.
    pub fn end_cell(&mut self) {
        // A line of the stream has at most 32 MiB.
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// The JSON text of a cell; [`NULL`] where there is none.
    pub fn cell(&self, index: usize) -> &str {
        let Some(&end) = self.ends.get(index) else { return NULL };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..end as usize]
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Every cell.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.cell(index))
    }

    /// Empties the row and keeps its memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// The bytes of its cells.
    pub fn text_size(&self) -> usize {
        self.text.len()
    }

    /// The bytes that the row holds, its own bookkeeping included.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

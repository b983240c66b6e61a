//! The log from some point on, as an iterator over its pages.

use edgebus_core::Entry;
use edgebus_core::query::LogQuery;

use super::StoreError;
use super::reader::StoreReader;

/// The log from some point on, read page by page. Between two items nothing of the store is held,
/// so the caller may take its time.
#[derive(Debug)]
pub struct Replay {
    reader: StoreReader,
    query: Option<LogQuery>,
    page: std::vec::IntoIter<Entry>,
}

impl Replay {
    pub(super) fn new(reader: StoreReader, query: LogQuery) -> Self {
        Self {
            reader,
            query: Some(query),
            page: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            let mut query = self.query.take()?;
            match self.reader.read_log(&query) {
                Ok(page) => {
                    self.query = page.next.map(|next| {
                        query.from = next;
                        query
                    });
                    self.page = page.entries.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

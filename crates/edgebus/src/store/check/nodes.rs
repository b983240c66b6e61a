//! One page of a tree of redb: the rows of a leaf, the children of a branch, and how much of it is in
//! use.
//!
//! Invariant: whatever the bytes are, what is handed out lies within the page.

use bytes::Bytes;

use super::pages::{Frame, PageInfo, Tree, u32_at, u64_at};

/// How much of a page is in use; `None` when it makes no sense.
pub(super) fn used(page: &[u8], tree: &Tree) -> Option<usize> {
    let count = usize::from(u16::from_le_bytes([*page.get(2)?, *page.get(3)?]));
    if count == 0 {
        return None;
    }
    match page[0] {
        1 => {
            let keys = match (tree.key_bytes, tree.value_bytes) {
                (None, None) => 4 + 8 * count,
                (Some(_), Some(_)) => 4,
                _ => 4 + 4 * count,
            };
            let values = match tree.key_bytes {
                Some(width) => keys + width * count,
                None => u32_at(page, 4 + 4 * (count - 1))? as usize,
            };
            match tree.value_bytes {
                Some(width) => Some(values + width * count),
                None => {
                    let ends = 4 + if tree.key_bytes.is_none() {
                        4 * count
                    } else {
                        0
                    };
                    Some(u32_at(page, ends + 4 * (count - 1))? as usize)
                }
            }
        }
        2 => {
            let key_ends = 8 + 24 * (count + 1);
            match tree.key_bytes {
                Some(width) => Some(key_ends + width * count),
                None => Some(u32_at(page, key_ends + 4 * (count - 1))? as usize),
            }
        }
        _ => None,
    }
}

/// The rows of a leaf and how much of it is in use; `None` when it makes no sense at all. Of a
/// damaged one those rows are left out that do not lie in it.
pub(super) fn leaf(page: &Bytes, tree: &Tree) -> Option<(usize, Frame)> {
    let rows = usize::from(u16::from_le_bytes([page[2], page[3]]));
    if rows == 0 {
        return None;
    }
    let key_ends = 4;
    let value_ends = key_ends
        + if tree.key_bytes.is_none() {
            4 * rows
        } else {
            0
        };
    let keys = value_ends
        + if tree.value_bytes.is_none() {
            4 * rows
        } else {
            0
        };
    let key_end = |row: usize| match tree.key_bytes {
        Some(width) => Some(keys + width * (row + 1)),
        None => u32_at(page, key_ends + 4 * row).map(|end| end as usize),
    };
    let values = key_end(rows - 1).filter(|values| *values <= page.len())?;
    let value_end = |row: usize| match tree.value_bytes {
        Some(width) => Some(values + width * (row + 1)),
        None => u32_at(page, value_ends + 4 * row).map(|end| end as usize),
    };
    let used = value_end(rows - 1)?;
    let mut last = (Some(keys), Some(values));
    let mut found = Vec::with_capacity(rows);
    for row in 0..rows {
        let end = (key_end(row), value_end(row));
        let (key, value) = (last.0.zip(end.0), last.1.zip(end.1));
        if let (Some(key), Some(value)) = (key, value)
            && key.0 <= key.1
            && key.1 <= values
            && value.0 <= value.1
            && value.1 <= page.len()
        {
            found.push((key.0..key.1, value.0..value.1));
        }
        last = end;
    }
    if found.is_empty() {
        return None;
    }
    let frame = Frame::Leaf {
        page: page.clone(),
        rows: found,
        next: 0,
        info: PageInfo::damaged(0, 0, None),
    };
    Some((used, frame))
}

/// The children of a branch and how much of it is in use; `None` when it makes no sense at all.
pub(super) fn branch(page: &Bytes, tree: &Tree) -> Option<(usize, Frame)> {
    let keys = usize::from(u16::from_le_bytes([page[2], page[3]]));
    if keys == 0 {
        return None;
    }
    let (checksums, numbers) = (8, 8 + 16 * (keys + 1));
    let key_ends = numbers + 8 * (keys + 1);
    let used = match tree.key_bytes {
        Some(width) => key_ends + width * keys,
        None => u32_at(page, key_ends + 4 * (keys - 1))? as usize,
    };
    if used > page.len() {
        return None;
    }
    let children = (0..=keys).map(|child| {
        let at = checksums + 16 * child;
        let checksum: [u8; 16] = page.get(at..at + 16)?.try_into().ok()?;
        let number = u64_at(page, numbers + 8 * child)?;
        Some((number, Some(u128::from_le_bytes(checksum))))
    });
    let children = children.collect::<Option<Vec<_>>>()?;
    Some((used, Frame::Branch { children, next: 0 }))
}

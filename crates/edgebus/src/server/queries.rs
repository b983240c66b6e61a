//! Answers questions about the log. Reads from disk happen on threads made for blocking.

use std::sync::Arc;

use edgebus_core::query::{LogPage, LogQuery, Query};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal, Scope};

use super::Shared;
use crate::store::{StoreError, StoreReader};

/// Room in a frame for what is not entries, and for the one entry that closes a page.
const PAGE_SHARE: usize = 4;

/// The frame that answers a question.
pub(super) async fn answer(shared: Arc<Shared>, tag: u64, query: Query) -> Frame {
    let reader = shared.bus.reader();
    let frame_bytes_max = shared.config.limits.frame_bytes_max;
    let found = match query {
        Query::Stats => {
            return Frame::Stats {
                tag,
                stats: Box::new(shared.stats()),
            };
        }
        query => tokio::task::spawn_blocking(move || page(&reader, query, frame_bytes_max)).await,
    };
    match found {
        Ok(Ok(page)) => Frame::Page { tag, page },
        Ok(Err(error)) => Frame::Error {
            tag,
            refusal: Refusal::from(&error),
        },
        Err(_) => {
            let refusal = Refusal::new(
                Code::Corrupt,
                "reading the log failed: see the server's log",
            );
            Frame::Error { tag, refusal }
        }
    }
}

fn page(reader: &StoreReader, query: Query, frame_bytes_max: usize) -> Result<LogPage, StoreError> {
    match query {
        Query::Log(mut log) => {
            log.limit = log.limit.min(16 * 1024);
            log.page_bytes = log.page_bytes.min(frame_bytes_max / PAGE_SHARE);
            reader.read_log(&log)
        }
        Query::ById(id) => match reader.find(id, Scope::default())? {
            None => Ok(LogPage::default()),
            Some(seq) => {
                let mut one = LogQuery::from(seq);
                one.to = Some(seq);
                reader.read_log(&one)
            }
        },
        _ => Err(Refusal::new(Code::BadQuery, "this server does not know the question").into()),
    }
}

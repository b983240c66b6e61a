//! Answers questions about the log. Reads from disk happen on threads made for blocking.

use std::sync::Arc;

use edgebus_core::access::Verb;
use edgebus_core::query::{LogPage, LogQuery, Query};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal};

use super::Shared;
use super::asker::Asker;
use crate::host;
use crate::store::{StoreError, StoreReader};

/// Room in a frame for what is not entries, and for the one entry that closes a page.
const PAGE_SHARE: usize = 4;

/// The frame that answers a question.
pub(super) async fn answer(shared: Arc<Shared>, mut asker: Asker, tag: u64, query: Query) -> Frame {
    // It may have waited for its turn.
    asker.judge_by(shared.guard.rights().as_mut());
    let may = match &query {
        Query::Log(log) => asker.may(Verb::Replay, &log.topics),
        // What it may not know of is not found.
        Query::ById(_) => Ok(()),
        _ => asker.may(Verb::Admin, &[]),
    };
    if let Err(refusal) = may {
        // Whether the server answers anybody may ask, as often as a monitor does.
        if !matches!(query, Query::Stats) {
            shared.forbid(&asker, 1, &refusal);
        }
        return Frame::Error { tag, refusal };
    }
    let reader = shared.bus.reader();
    let frame_bytes_max = shared.config.limits.frame_bytes_max;
    let found = match query {
        Query::Stats => {
            return Frame::Stats {
                tag,
                stats: Box::new(shared.stats()),
            };
        }
        query => {
            let page = move || page(&reader, &asker, query, frame_bytes_max);
            host::blocking(page).await
        }
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

fn page(
    reader: &StoreReader,
    asker: &Asker,
    query: Query,
    frame_bytes_max: usize,
) -> Result<LogPage, StoreError> {
    match query {
        Query::Log(mut log) => {
            log.limit = log.limit.min(16 * 1024);
            log.page_bytes = log.page_bytes.min(frame_bytes_max / PAGE_SHARE);
            reader.read_log(&log)
        }
        Query::ById(id) => match reader.find(id, asker.scope)? {
            None => Ok(LogPage::default()),
            Some(seq) => {
                let mut one = LogQuery::from(seq);
                one.to = Some(seq);
                let page = reader.read_log(&one)?;
                let may = page.entries.iter().all(|entry| asker.may_know(entry));
                Ok(if may { page } else { LogPage::default() })
            }
        },
        _ => Err(Refusal::new(Code::BadQuery, "this server does not know the question").into()),
    }
}

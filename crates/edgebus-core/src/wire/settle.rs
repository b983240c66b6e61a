//! What a worker says about a lease, as a number and a body: in Settle frames and in admin
//! questions.
//!
//! Kept as it came until the session looks at it, so that one item that makes no sense is refused
//! alone and its neighbours count.

use bytes::Bytes;
use prost::Message as _;

use crate::code::{Code, Refusal};
use crate::consumer::{LeaseToken, Reply, Settlement};

/// One item of a Settle frame.
#[derive(Clone, Debug, PartialEq)]
pub struct SettleItem {
    /// The lease.
    pub token: LeaseToken,
    /// What is said about it, unchecked.
    pub settlement: WireSettlement,
}

/// A settlement as it came.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct WireSettlement {
    /// 1 ack, 2 complete, 3 nak, 4 term, 5 extend, 6 release.
    pub what: u8,
    /// prost `Reply` of a completion, prost `Nak` of a nak or term; not looked at otherwise.
    pub body: Bytes,
}

/// Why a message was not done.
#[derive(Clone, PartialEq, prost::Message)]
struct WireNak {
    #[prost(uint64, optional, tag = "1")]
    delay_ms: Option<u64>,
    #[prost(string, tag = "2")]
    reason: String,
}

impl From<&Settlement> for WireSettlement {
    fn from(settlement: &Settlement) -> Self {
        let nak = |delay_ms: Option<u64>, reason: &str| {
            let reason = reason.to_owned();
            WireNak { delay_ms, reason }.encode_to_vec()
        };
        let (what, body) = match settlement {
            Settlement::Ack => (1, Vec::new()),
            Settlement::Complete(reply) => (2, reply.encode_to_vec()),
            Settlement::Nak { delay_ms, reason } => (3, nak(*delay_ms, reason)),
            Settlement::Term { reason } => (4, nak(None, reason)),
            Settlement::Extend => (5, Vec::new()),
            Settlement::Release => (6, Vec::new()),
        };
        Self {
            what,
            body: Bytes::from(body),
        }
    }
}

impl TryFrom<WireSettlement> for Settlement {
    type Error = Refusal;

    fn try_from(settlement: WireSettlement) -> Result<Self, Refusal> {
        let WireSettlement { what, body } = settlement;
        match what {
            1 => Ok(Self::Ack),
            2 => Reply::decode(body)
                .map(Self::Complete)
                .map_err(|_| unreadable("reply")),
            3 => {
                let WireNak { delay_ms, reason } =
                    WireNak::decode(body).map_err(|_| unreadable("reason"))?;
                Ok(Self::Nak { delay_ms, reason })
            }
            4 => {
                let nak = WireNak::decode(body).map_err(|_| unreadable("reason"))?;
                Ok(Self::Term { reason: nak.reason })
            }
            5 => Ok(Self::Extend),
            6 => Ok(Self::Release),
            _ => Err(Refusal::new(
                Code::BadQuery,
                format!("a settlement is of a kind from 1 to 6, not {what}"),
            )),
        }
    }
}

#[cold]
fn unreadable(what: &str) -> Refusal {
    Refusal::new(
        Code::BadQuery,
        format!("the {what} of a settlement cannot be read"),
    )
}

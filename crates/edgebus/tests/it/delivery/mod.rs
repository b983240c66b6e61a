//! Replies, consumers, subscriptions and operators through a client; each case runs over TCP and
//! over memory, unless it is about the connection itself.

pub(crate) mod fixture;

/// Runs each case over both transports.
macro_rules! over_either {
    ($($case:ident)+) => {
        mod tcp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut server = crate::tcp::fixture::TestServer::start().await;
                super::$case(&server, async |config| server.connect(config).await).await;
                server.stop().await;
            })+
        }

        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let mut server = crate::tcp::fixture::TestServer::start().await;
                let connect = async |config| server.handle.connect(config).await.unwrap();
                super::$case(&server, connect).await;
                server.stop().await;
            })+
        }
    };
}

mod backup;
mod consumers;
mod given_up;
mod limits;
mod lost;
mod notifications;
mod operators;
mod requests;
mod retention;
mod together;

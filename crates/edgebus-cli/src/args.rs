//! What can be typed: the tree of commands and options.
//!
//! Values are parsed here, once; a command never sees text that is no topic, id or URL. A value
//! that is refused keeps the code of its refusal (see [`crate::error::usage`]).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap_complete::Shell;
use edgebus::{ConsumerName, Refusal, RequestId, ServerUrl, Topic, TopicPattern};

use crate::time::Position;
use crate::values;
use crate::{
    backup, bench, cert, check, config, consumer, dlq, doctor, publish, reply, request, spool, sub,
};

/// What every script needs to know.
const AFTER_HELP: &str = "\
Exit status: 0 done, 1 refused, 2 usage, 3 cannot connect, 4 outcome unknown or no reply in time
(ask again with the same id), 74 an I/O error stopped the server's store, 130 interrupted.

Environment: EDGEBUS_SERVER as --server (bench takes the option only), EDGEBUS_CA, EDGEBUS_CERT,
EDGEBUS_KEY, EDGEBUS_TOKEN_FILE and EDGEBUS_SERVER_NAME as these options, EDGEBUS_INSECURE as
--insecure, EDGEBUS_LOG for the server's log (error, warn, info, debug), EDGEBUS_CONFIG as
--config; each key of a server's configuration has one (edgebus config reference).";

/// A durable message bus for edge servers.
#[derive(Debug, clap::Parser)]
#[command(name = "edgebus", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// The server to talk to [default: tcp://127.0.0.1:7411]
    #[arg(long, global = true, value_name = "URL", env = "EDGEBUS_SERVER")]
    pub(crate) server: Option<ServerUrl>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) proof: Proof,
}

/// Whom a command trusts, and how it proves who it is. The files are read when it connects.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Proof {
    /// The CA of a tls:// server's certificate, as PEM
    #[arg(id = "proof_ca", long = "ca", global = true, value_name = "FILE", env = "EDGEBUS_CA", value_parser = any_path())]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate of this client, as PEM; goes with --key
    #[arg(id = "proof_cert", long = "cert", global = true, value_name = "FILE", env = "EDGEBUS_CERT", value_parser = any_path())]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --cert, which nobody else may read
    #[arg(id = "proof_key", long = "key", global = true, value_name = "FILE", env = "EDGEBUS_KEY", value_parser = any_path())]
    pub(crate) key: Option<PathBuf>,
    /// The file with the token of this client, which nobody else may read
    #[arg(id = "proof_token_file", long = "token-file", global = true, value_name = "FILE", env = "EDGEBUS_TOKEN_FILE", value_parser = any_path())]
    pub(crate) token_file: Option<PathBuf>,
    /// The name that the server's certificate is for, if not the one in the URL
    #[arg(
        id = "proof_server_name",
        long = "server-name",
        global = true,
        value_name = "NAME",
        env = "EDGEBUS_SERVER_NAME"
    )]
    pub(crate) server_name: Option<String>,
}

/// A path as it is; an empty variable is no reason to stop, as it counts as not set.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl Proof {
    /// The options, as clap has them; other options of commands have such names too.
    pub(crate) const OPTIONS: [&str; 5] = [
        "proof_ca",
        "proof_cert",
        "proof_key",
        "proof_token_file",
        "proof_server_name",
    ];
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(ServeOptions),
    /// Store a request, or a file of them; done when they are on the server's disk, or on this one's
    Send(SendOptions),
    /// Store a request and print the reply to it
    Request(request::Options),
    /// Answer requests with the output of a command
    Reply(reply::Options),
    /// Tell whoever listens right now; nothing is stored unless told
    Publish(publish::Options),
    /// Print notifications as they come
    Sub(sub::Options),
    /// Look at what is stored, or remove the old end of it
    Log(LogOptions),
    /// Print everything stored from some point on, or give it to a consumer once more
    Replay(ReplayOptions),
    /// Consumers: make them, look at them, take their messages by hand
    Consumer(consumer::Options),
    /// Dead letters: messages that failed for good
    Dlq(dlq::Options),
    /// Requests that wait on this machine until a server has them
    Spool(spool::Options),
    /// Who is connected
    Client(ClientOptions),
    /// Show the server's figures
    Stats(StatsOptions),
    /// Tell whether the server takes requests
    Health,
    /// Look at a server's configuration
    Config(config::command::Options),
    /// Look at every byte of a data folder, or a spool, that nobody has open
    #[command(after_help = "\
Says what is wrong, where, and what it costs; a group that a power cut tore is no damage. A repair
turns back single bits where a checksum proves which, and touches nothing else.
Exit status: 0 sound, 1 something is wrong, or the folder is in use, 2 usage, 74 it cannot be read.

Examples:
  edgebus check /var/lib/edgebus
  edgebus check /var/lib/edgebus --repair")]
    Check(check::Options),
    /// Take the whole store as one file, while the server works
    Backup(backup::Options),
    /// Make a store of a backup, in a folder of its own
    Restore(backup::RestoreOptions),
    /// Look whether disk and machine are good for it, and say what to expect; needs no server
    Doctor(doctor::Options),
    /// Measure how fast requests are stored; with --server, stores them at that server
    Bench(bench::Options),
    /// Certificates: a private CA, and what it signs for servers and clients
    Cert(cert::Options),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeOptions {
    /// The configuration file; options win over it (see config reference) [env: EDGEBUS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Say everything that is wrong with the configuration, and start nothing
    #[arg(long)]
    pub(crate) check_config: bool,
    /// The data folder; made if it is missing [default: ./edgebus-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one. Can be given more than once [default:
    /// tcp://127.0.0.1:7411]
    #[arg(long, value_name = "URL")]
    pub(crate) listen: Vec<ServerUrl>,
    /// Where to answer HTTP (/healthz, /readyz, /metrics), for example 127.0.0.1:7480
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Let other machines connect without encryption [env: EDGEBUS_INSECURE]
    #[arg(long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) retention: RetentionOptions,
}

/// How much is kept. A consumer that has not passed a message holds it for a while (see consumer
/// add --hold).
#[derive(Debug, clap::Args)]
pub(crate) struct RetentionOptions {
    /// Remove messages that are older [default: 7d]
    #[arg(long = "retention-age", value_name = "DURATION", value_parser = values::some_duration)]
    pub(crate) age: Option<Duration>,
    /// Remove the oldest messages when the log takes more than this [default: 10GiB]
    #[arg(long = "retention-bytes", value_name = "SIZE", value_parser = values::bytes)]
    pub(crate) bytes: Option<u64>,
    /// Remove the oldest messages when there are more than this [default: any number is kept]
    #[arg(long = "retention-count", value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long the id of a request is known at least, so that it is not stored twice [default: 30d]
    #[arg(long = "dedupe-horizon", value_name = "DURATION", value_parser = values::some_duration)]
    pub(crate) dedupe_horizon: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SendOptions {
    /// What the request is about, for example orders.created
    pub(crate) topic: Topic,
    /// The content; `-`, or none, for standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) payload: Option<OsString>,
    /// The request's id, to be able to ask again; a new one if not given
    #[arg(long, value_name = "UUID")]
    pub(crate) id: Option<RequestId>,
    /// A header that travels along. Can be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<(String, String)>,
    /// How long after being stored it may still be started, for example 30s
    #[arg(long, value_name = "DURATION", value_parser = values::some_duration)]
    pub(crate) expires: Option<Duration>,
    /// Most requests on their way at a time
    #[arg(long, value_name = "REQUESTS", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
    /// Send each line of a file of JSON lines as a request; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["payload", "id"])]
    pub(crate) file: Option<PathBuf>,
    /// Keep it in this folder when no server is there, or while older requests wait in it; the next
    /// command with the folder forwards it (see spool). One command at a time has a folder
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// Most bytes of requests in the spool [default: 256MiB]
    #[arg(long, value_name = "SIZE", requires = "spool", value_parser = values::bytes)]
    pub(crate) spool_bytes_max: Option<u64>,
    /// The field of each line that holds its id: a UUID, or any value that is unique in the topic
    #[arg(long, value_name = "NAME", requires = "file",
          conflicts_with_all = ["payload", "id"])]
    pub(crate) id_field: Option<String>,
    /// Keeps equal values of different origin apart
    #[arg(
        long,
        value_name = "NAME",
        requires = "id_field",
        default_value = "default"
    )]
    pub(crate) id_namespace: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogOptions {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum LogCommand {
    /// List stored requests
    Ls(ListOptions),
    /// Show one stored request, and what became of it
    Get(GetOptions),
    /// Remove the old end of the log for good, also for consumers that have not come so far
    #[command(after_help = "Example:\n  edgebus log trim --before -30d")]
    Trim(TrimOptions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TrimOptions {
    /// The first to keep: a sequence number, a time (RFC 3339), or how long ago (-30d)
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub(crate) before: Position,
    /// Do not ask
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) folder: FolderOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClientOptions {
    #[command(subcommand)]
    pub(crate) command: ClientCommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClientCommand {
    /// List connections
    Ls,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    /// The first to look at: a sequence number, a time (RFC 3339), or how long ago (-1h)
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<Position>,
    #[command(flatten)]
    pub(crate) range: RangeOptions,
    /// Most requests to list
    #[arg(long, value_name = "REQUESTS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayOptions {
    /// The first to replay: a sequence number, a time (RFC 3339), or how long ago (-1h)
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub(crate) from: Position,
    #[command(flatten)]
    pub(crate) range: RangeOptions,
    /// Do not print it: give it to this consumer once more, as far as it is for it
    #[arg(long, value_name = "CONSUMER", conflicts_with = "data")]
    pub(crate) into: Option<ConsumerName>,
}

/// Which stored requests, beside the first.
#[derive(Debug, clap::Args)]
pub(crate) struct RangeOptions {
    /// The last to look at: a sequence number, a time (RFC 3339), or how long ago (-1h)
    #[arg(long, value_name = "SEQ|TIME", allow_hyphen_values = true)]
    pub(crate) to: Option<Position>,
    /// Only topics that match, for example orders.* or sensors.>
    #[arg(long, value_name = "PATTERN")]
    pub(crate) topic: Option<TopicPattern>,
    #[command(flatten)]
    pub(crate) folder: FolderOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetOptions {
    /// Its sequence number or its request id
    #[arg(value_name = "SEQ|UUID")]
    pub(crate) key: Key,
    #[command(flatten)]
    pub(crate) folder: FolderOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatsOptions {
    /// Again every two seconds, with rates, until interrupted
    #[arg(long, conflicts_with = "data")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) folder: FolderOptions,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FolderOptions {
    /// Use this data folder instead of asking a server; no server may run on it
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// What names one stored request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Seq(edgebus::Seq),
    Id(RequestId),
}

impl std::str::FromStr for Key {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.parse() {
            Ok(seq) => Ok(Self::Seq(edgebus::Seq(seq))),
            Err(_) => text.parse().map(Self::Id),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use edgebus::Code;

    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_command_has_an_option_of_the_same_name_as_one_that_all_have() {
        fn look(command: &clap::Command, global: &[&str]) {
            for argument in command.get_arguments().filter(|a| !a.is_global_set()) {
                let id = argument.get_id().as_str();
                assert!(!global.contains(&id), "{} {id}", command.get_name());
            }
            command.get_subcommands().for_each(|sub| look(sub, global));
        }
        let command = Args::command();
        let global = command.get_arguments().filter(|a| a.is_global_set());
        let global: Vec<&str> = global.map(|a| a.get_id().as_str()).collect();
        assert!(Proof::OPTIONS.iter().all(|option| global.contains(option)));
        look(&command, &global);
    }

    #[test]
    fn server_and_json_may_stand_after_any_command() {
        for line in [
            "edgebus log ls --server tcp://h:1 --json",
            "edgebus --server tcp://h:1 --json stats",
            "edgebus send t p --json --server tcp://h:1",
        ] {
            let args = Args::try_parse_from(line.split(' ')).expect(line);
            assert!(args.global.json, "{line}");
            assert_eq!(args.global.server.expect(line).authority(), "h:1");
        }
    }

    #[test]
    fn an_id_for_a_whole_file_is_a_usage_error() {
        let id = "00000000-0000-7000-8000-000000000000";
        let line = format!("edgebus send t --file f --id {id}");
        assert!(Args::try_parse_from(line.split(' ')).is_err());
    }

    #[test]
    fn a_key_is_a_number_or_an_id() {
        assert!(matches!("7".parse(), Ok(Key::Seq(edgebus::Seq(7)))));
        let id = "00000000-0000-7000-8000-000000000000";
        assert!(matches!(id.parse(), Ok(Key::Id(_))));
        assert_eq!("x".parse::<Key>().expect_err("no key").code, Code::BadId);
    }
}

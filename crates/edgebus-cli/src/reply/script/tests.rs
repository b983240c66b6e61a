//! Commands as users write them, well and badly.

use rustix::fs::{Mode, OFlags};

use super::*;

fn job(payload: &[u8]) -> Job {
    Job {
        payload: Bytes::copy_from_slice(payload),
        environment: vec![("EDGEBUS_TOPIC", "t".to_owned())],
        timeout: Duration::from_secs(60),
        output_bytes_max: 1000,
        show_stderr: false,
    }
}

async fn run(line: &str, job: Job) -> Ended {
    let (_keep, kill) = oneshot::channel();
    Script::new(line.into()).unwrap().run(job, kill).await
}

fn done(text: &str) -> Ended {
    Ended::Done(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn a_line_goes_to_the_shell_with_payload_and_environment() {
    assert_eq!(
        run("tr a-z A-Z; echo $EDGEBUS_TOPIC", job(b"abc")).await,
        done("ABCt\n")
    );
}

#[tokio::test]
async fn the_exit_status_says_what_becomes_of_the_message() {
    let retry = |text: &str| Ended::Retry(text.to_owned());
    let reject = |text: &str| Ended::Reject(text.to_owned());
    for (line, expected) in [
        ("exit 0", done("")),
        ("exit 1", retry("exit status 1")),
        ("echo no paper >&2; exit 2", retry("no paper")),
        ("exit 65", reject("exit status 65")),
        ("echo no such item >&2; exit 65", reject("no such item")),
        ("kill -9 $$", retry("killed by signal 9")),
        ("echo half; exit 3", retry("exit status 3")),
    ] {
        assert_eq!(run(line, job(b"")).await, expected, "{line}");
    }
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_is_as_good_as_any() {
    let large = vec![b'x'; 900 * 1024];
    assert_eq!(run("echo ok", job(&large)).await, done("ok\n"));
    assert_eq!(run("exec <&-; echo ok", job(&large)).await, done("ok\n"));
}

#[tokio::test]
async fn output_over_the_limit_is_rejected_once_the_command_has_ended() {
    let ended = run("head -c 2000000 /dev/zero", job(b"")).await;
    assert!(matches!(&ended, Ended::Reject(reason) if reason.contains("1000 bytes")));
    // What failed is tried again, whatever it wrote.
    let ended = run("head -c 2000 /dev/zero; exit 7", job(b"")).await;
    assert_eq!(ended, Ended::Retry("exit status 7".to_owned()));
}

#[tokio::test]
async fn what_a_command_leaves_running_is_not_waited_for() {
    let Ended::Done(bytes) = run("sleep 1000 & echo $!", job(b"")).await else {
        panic!("it is done")
    };
    let pid = std::str::from_utf8(&bytes).expect("text").trim();
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("it still runs");
}

#[tokio::test]
async fn a_command_whose_time_is_over_ends_with_all_it_started() {
    let place = tempfile::tempdir().expect("a folder");
    let pipe = place.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let reader = rustix::fs::open(&pipe, flags, Mode::empty()).expect("opens");
    let line = format!("sleep 1000 >{} & echo slow >&2; wait", pipe.display());
    let mut job = job(b"");
    job.timeout = Duration::from_millis(300);
    let ended = run(&line, job).await;
    let expected = "the command did not end within 300ms: slow";
    assert_eq!(ended, Ended::Retry(expected.to_owned()));
    // Comes to an end only when nobody can write to it any more.
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).expect("is set");
    assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
}

#[tokio::test]
async fn a_command_that_ignores_being_asked_is_killed() {
    let mut job = job(b"");
    job.timeout = Duration::from_millis(100);
    let ended = run("trap '' TERM; while :; do sleep 1000; done", job).await;
    assert!(matches!(ended, Ended::Retry(_)));
}

#[tokio::test]
async fn a_command_can_be_killed_at_once() {
    let (kill, killed) = oneshot::channel();
    kill.send(()).expect("it waits");
    let script = Script::new("sleep 1000".into()).unwrap();
    assert_eq!(script.run(job(b""), killed).await, Ended::Killed);
}

#[tokio::test]
async fn a_file_is_run_without_a_shell_whatever_its_name() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("a handler; echo no");
    std::fs::write(&path, "cat; echo done").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    // Without a first line that names its interpreter, too.
    assert_eq!(
        run(path.to_str().expect("text"), job(b"x ")).await,
        done("x done\n")
    );
}

#[tokio::test]
async fn a_command_that_is_not_there_is_tried_again() {
    assert!(matches!(
        run("no-such-command-anywhere", job(b"")).await,
        Ended::Retry(_)
    ));
}

#[test]
fn command_that_cannot_be_run_is_refused_before_any_message_pays_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("handle");
    assert!(Script::new(file.clone().into()).is_err(), "not there");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    assert!(Script::new(file.into()).is_err(), "not executable");
    assert!(Script::new(" ".into()).is_err(), "nothing");
    assert!(Script::new("tr a-z A-Z".into()).is_ok());
    assert!(Script::new("/bin/sh -c true".into()).is_ok());
}

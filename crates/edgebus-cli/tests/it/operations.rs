//! docs/operations.md, run from top to bottom as it stands there, on machines that are folders.
//!
//! The first word after a block's language is the machine; a block without one is an example. What
//! only the administrator of a machine may do (users, owners, services) is played here; paths and
//! ports are moved to where a test may have them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::background::Background;
use crate::shop::Guarded;
use crate::support::{Place, Run, text};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
/// Those that have certificates.
const CLIENTS: [&str; 3] = ["books", "till-1", "till-11"];
const MACHINES: [&str; 6] = ["office", "server", "books", "till-1", "till-11", "scale-1"];

/// A block of the page.
struct Block {
    line: usize,
    machines: Vec<&'static str>,
    /// What else is said of it: `background`, `by hand`, or the path of a file.
    how: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().map(|(_, line)| line);
        let text: Vec<&str> = inside.take_while(|line| *line != "```").collect();
        let mut words = info.split(' ').skip(1);
        let machines = match words.next() {
            None => continue,
            Some("clients") => CLIENTS.to_vec(),
            Some("all") => MACHINES.to_vec(),
            Some(name) => {
                let known = MACHINES.into_iter().find(|machine| *machine == name);
                vec![known.unwrap_or_else(|| panic!("line {number}: no machine {name}"))]
            }
        };
        blocks.push(Block {
            line: number + 1,
            machines,
            how: words.collect::<Vec<_>>().join(" "),
            text: text.join("\n") + "\n",
        });
    }
    blocks
}

/// The machines, and what runs on them.
struct World {
    place: Place,
    server: Option<Guarded>,
    /// Where the server listens for TLS, and for HTTP, once it does; any port before.
    address: String,
    http: String,
    background: BTreeMap<&'static str, Background>,
}

impl World {
    fn root(&self, machine: &str) -> PathBuf {
        self.place.path(machine)
    }

    /// Where commands of a machine are run, and what was carried there lies.
    fn folder(&self, machine: &str) -> PathBuf {
        self.root(machine).join("carried")
    }

    /// Sets a machine up as it comes: with the binary beside it, and what administrators do.
    fn install(&self, machine: &str) {
        let root = self.root(machine);
        for dir in [
            "carried",
            "played",
            "usr/local/bin",
            "etc/systemd/system",
            "var/lib",
            "run/edgebus",
        ] {
            fs::create_dir_all(root.join(dir)).expect("made");
        }
        let binary = env!("CARGO_BIN_EXE_edgebus");
        let played = [
            ("carried/edgebus", format!("exec {binary} \"$@\"")),
            ("played/hostname", format!("echo {machine}")),
            ("played/useradd", "exit 0".to_owned()),
            // Whoever owns it here does not matter, but that it is there.
            ("played/chown", "shift; ls \"$@\" >/dev/null".to_owned()),
            ("played/runuser", "shift 3; exec \"$@\"".to_owned()),
            ("played/journalctl", format!("cat {}/journal", text(&root))),
        ];
        for (name, line) in played {
            let path = root.join(name);
            fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        }
    }

    /// A text of the page with its paths and ports moved to where a machine has them here.
    fn moved(&self, machine: &str, page: &str) -> String {
        let root = self.root(machine);
        let mut moved = page.to_owned();
        for path in ["/etc/", "/var/lib", "/run/edgebus", "/usr/local/bin"] {
            moved = moved.replace(path, &format!("{}{path}", text(&root)));
        }
        let uid = rustix::process::getuid().as_raw();
        moved
            .replace("unix:0", &format!("unix:{uid}"))
            .replace("127.0.0.1:7480", &self.http)
            .replace("0.0.0.0:7412", &self.address)
            .replace("bus.shop.lan:7412", &self.address)
    }

    /// Carries what is packed from the office to a machine.
    fn carry(&self, machine: &str) {
        let office = self.folder("office");
        let carried = |path: &Path| path.extension().is_some_and(|e| e == "tar" || e == "token");
        let entries = fs::read_dir(&office).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        paths.retain(|path| carried(path));
        paths.extend(["ca.pem", "crl.pem"].map(|name| office.join("shop-ca").join(name)));
        for path in paths.iter().filter(|path| path.exists()) {
            let name = path.file_name().expect("a name");
            fs::copy(path, self.folder(machine).join(name)).expect("carried");
        }
    }

    fn shell(&self, machine: &str, script: &str) -> Command {
        let root = self.root(machine);
        let inherited = std::env::var("PATH").expect("there is a PATH");
        let path = ["played", "usr/local/bin"].map(|dir| text(&root.join(dir)).to_owned());
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"EDGEBUS_") {
                command.env_remove(name);
            }
        }
        // In the office there is no installed one yet to begin with.
        command
            .args(["-euc", script])
            .env("PATH", [&path.join(":"), ":", &inherited].concat())
            .env("EDGEBUS_SERVER_NAME", "bus.shop.lan")
            .current_dir(self.folder(machine))
            .stdin(Stdio::null());
        command
    }

    fn run(&mut self, machine: &'static str, block: &Block) {
        let at = format!("line {} on {machine}", block.line);
        let text = self.moved(machine, &block.text);
        if machine != "office" {
            self.carry(machine);
        }
        match block.how.as_str() {
            "" => {}
            "by hand" => return,
            "background" => {
                let mut running = Background::start(&mut self.shell(machine, &text));
                running.hear("edgebus: working on ");
                self.background.insert(machine, running);
                return;
            }
            path => {
                let path = self.folder(machine).join(self.moved(machine, path));
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(path, text).expect("written");
                return;
            }
        }
        let reloads = self.reloads();
        let mut script = String::new();
        for line in text.lines() {
            if let Some(action) = line.strip_prefix("systemctl ") {
                self.finish(machine, &std::mem::take(&mut script), &at);
                self.service(action);
                continue;
            }
            script.push_str(&checked(line));
        }
        self.finish(machine, &script, &at);
        let changes = ["put.sh", "mv "].iter().any(|word| text.contains(word));
        if let Some(server) = self
            .server
            .as_ref()
            .filter(|_| machine == "server" && changes)
        {
            server.log.wait_for("reloaded the", reloads + 1);
        }
    }

    fn reloads(&self) -> usize {
        let lines = self.server.as_ref().map(|server| server.log.lines());
        let lines = lines.unwrap_or_default();
        lines
            .iter()
            .filter(|line| line.contains("reloaded the"))
            .count()
    }

    fn finish(&self, machine: &str, script: &str, at: &str) {
        let log = self.server.as_ref().map(|server| server.log.lines());
        let journal = log.unwrap_or_default().join("\n");
        fs::write(self.root(machine).join("journal"), journal).expect("written");
        let output = self.shell(machine, script).output().expect("bash is there");
        let run = Run::of(output);
        let log = self.server.as_ref().map(|server| server.log.lines());
        assert_eq!(run.status, 0, "{at}: {script}{run:?}, log: {log:?}");
    }

    /// What `systemctl` does, by the unit that the page has.
    fn service(&mut self, action: &str) {
        match action {
            "enable --now edgebus" | "start edgebus" => self.start(),
            "stop edgebus" => self.stop(),
            "restart edgebus" => {
                self.stop();
                self.start();
            }
            "reload edgebus" => self.server.as_ref().expect("it runs").reload(),
            other => panic!("nobody plays systemctl {other}"),
        }
    }

    fn start(&mut self) {
        let root = self.root("server");
        let unit = root.join("etc/systemd/system/edgebus.service");
        let unit = fs::read_to_string(unit).expect("there is a unit");
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let start = format!("exec {} --json", line.expect("it starts something"));
        let server = Guarded::start(&mut self.shell("server", &start));
        // From now on it is there, as clients remember it.
        let address = server.url.trim_start_matches("tls://").to_owned();
        let http = server.http.trim_start_matches("http://").to_owned();
        let config = root.join("etc/edgebus/edgebus.toml");
        let text = fs::read_to_string(&config).expect("there is one");
        let text = text.replace(&format!("tls://{}", self.address), &server.url);
        let text = text.replace(
            &format!("http = \"{}\"", self.http),
            &format!("http = \"{http}\""),
        );
        fs::write(config, text).expect("written");
        (self.address, self.http) = (address, http);
        self.server = Some(server);
    }

    fn stop(&mut self) {
        self.server.take().expect("it runs").stop();
    }
}

/// A line that must end as it says: with the exit status in its comment, or with 0.
fn checked(line: &str) -> String {
    match line.split_once("# exit ") {
        Some((command, rest)) => {
            let status: String = rest.chars().take_while(char::is_ascii_digit).collect();
            format!("status=0; {command} || status=$?; [ $status = {status} ]\n")
        }
        None => format!("{line}\n"),
    }
}

fn lines_of(path: &Path) -> usize {
    fs::read_to_string(path)
        .expect("it is there")
        .lines()
        .count()
}

#[test]
fn everything_on_the_page_works_as_it_stands_there() {
    let mut world = World {
        place: Place::new(),
        server: None,
        address: "127.0.0.1:0".to_owned(),
        http: "127.0.0.1:0".to_owned(),
        background: BTreeMap::new(),
    };
    for machine in MACHINES {
        world.install(machine);
    }
    let blocks = blocks();
    assert!(blocks.len() > 30, "{} blocks", blocks.len());
    for block in &blocks {
        for machine in &block.machines {
            world.run(machine, block);
        }
    }
    // What was asked for has been done: two sent, one asked, one from the eleventh till.
    let booked = world.root("books").join("var/lib/orders.ndjson");
    assert_eq!(lines_of(&booked), 4);
    for key in ["shop-ca/ca.key", "shop-ca/till-7.key", "till-7.tar"] {
        let mode = fs::metadata(world.folder("office").join(key))
            .expect(key)
            .permissions();
        assert_eq!(mode.mode() & 0o077, 0, "{key}");
    }
    let log = world.server.take().expect("it runs").stop();
    assert!(log.iter().all(|line| !line.contains("ERROR")), "{log:?}");
}

//! What real encoders write, for each target: where changes to bytes begin.
//!
//! [`made`] are the values, [`said`] what both ends of a connection say, [`stored`] what lies on a
//! disk. A seed's name is its file's in the corpus.

pub(super) mod made;
mod said;
mod stored;

pub(super) use said::{client_says, frames, server_says};
pub(super) use stored::{backups, blocks, entries, journal, ledgers, ops, records};

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Target `rights`.
pub(super) fn rights() -> Seeds {
    let shop = "[[allow]]\nidentity = \"till-*\"\nverbs = [\"send\", \"request\"]\ntopics = [\"orders.>\", \"prices.*\"]\n\n\
                [[allow]]\nidentity = [\"unix:0\", \"anonymous\"]\nverbs = \"all\"\ntopics = \">\"\n\n\
                [[scope]]\nname = \"shop-7\"\nidentity = [\"till-*\"]\n";
    let wrong = "[[alow]]\nidentity = \"\"\nverbs = [\"sedn\"]\ntopics = [\"a..b\"]\n[[scope]]\nname = \"\"\n";
    vec![
        ("shop", shop.into()),
        ("wrong", wrong.into()),
        ("empty", Vec::new()),
    ]
}

/// Target `config`.
pub(super) fn config() -> Seeds {
    let server = "# A server.\ndata = \"data\"\nlisten = [\"tcp://127.0.0.1:7411\", \"unix:///run/edgebus.sock\"]\nhttp = \"127.0.0.1:7480\"\n\
                  log = \"info,edgebus=debug\"\n\n[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_ca = [\"ca.pem\"]\n\n\
                  [store]\nsegment_bytes = \"16MiB\"\nretain_age = \"7d\"\nretain_bytes = \"10GiB\"\n\n\
                  [limits]\nconnections = 20000\nframe_bytes = \"1MiB\"\nhandshake = \"5s\"\n\n[access]\nrights = \"rights.toml\"\ntokens = \"tokens.toml\"\n";
    let wrong = "data = 7\nlissten = 1\n[strore]\nx = 2\n[store]\nsegment_bytes = -1\nsegment_bytes = \"1 parsec\"\n[limits\n= \n\"a.b\" = 1979-05-27\n";
    vec![
        ("server", server.into()),
        ("wrong", wrong.into()),
        (
            "tables",
            "a = {b = {c = [1, 2.5e9, true]}}\n[[store]]\n[store.x]\n".into(),
        ),
    ]
}

/// Target `topics`.
pub(super) fn topics() -> Seeds {
    let lines = [
        (
            "exact",
            "orders.created\norders.*\norders.created\norders\norders.created.eu\n",
        ),
        ("rest", "a.>\na.*.c\na.b.c\na\na.b\nb.b.c\n"),
        ("stars", "*.*.>\n*.b.*\na.b.c\na.b\nx.b.c.d\n"),
        ("all", ">\n*\na\na.b\n"),
        ("wrong", "a.>.b\na..b\n.a\na b\n\u{fc}\n"),
        (
            "identities",
            "till-*7*\nspiffe://shop/*\ntill-17\nspiffe://shop/till\nanonymous\n",
        ),
        ("again", "a.a.a.*\n*.a.a.a\na.a.a.a\na.a.a\n"),
    ];
    lines.map(|(name, text)| (name, text.into())).into()
}

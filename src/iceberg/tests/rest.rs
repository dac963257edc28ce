//! The REST protocol, against a small server of our own that keeps metadata in memory.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use iceberg::spec::{Schema as IcebergSchema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use serde_json::{Value, json};

use super::*;
use crate::iceberg::rest::ATTEMPTS;

/// What becomes of the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It lands, and the answer is a gateway's error.
    LandsThen502,
    /// It doesn't land, and the connection is closed.
    Hangup,
    /// It lands, and nothing is ever answered.
    LandsInSilence,
    /// It is refused for good.
    Forbidden,
}

/// Stands for no status: the connection stays open and nothing comes.
const SILENCE: u16 = 0;

#[derive(Debug, Default)]
struct Server {
    /// Tokens that are taken.
    tokens: Mutex<Vec<String>>,
    /// How many were had for client credentials.
    issued: AtomicU32,
    /// New ones aren't taken either.
    closed: AtomicBool,
    tables: Mutex<HashMap<String, (TableMetadata, u32)>>,
    faults: Mutex<Vec<Fault>>,
    /// How many of the next requests are not answered.
    ignored: AtomicU32,
    warehouse: String,
}

struct Request {
    method: String,
    path: String,
    token: String,
    body: Value,
}

fn serve(warehouse: &Path) -> (Arc<Server>, CatalogConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let uri = format!("http://{}/", listener.local_addr().expect("an address"));
    let tokens = Mutex::new(vec!["secret".to_owned()]);
    let warehouse = format!("file://{}", warehouse.display());
    let server = Arc::new(Server { warehouse, tokens, ..Server::default() });
    let served = server.clone();
    // Ends with the process: it waits for connections that nobody makes any more.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = served.clone();
            std::thread::spawn(move || server.answer(stream));
        }
    });
    let properties = Properties(BTreeMap::from([("token".to_owned(), "secret".to_owned())]));
    let (name, warehouse) = ("rest".to_owned(), String::new());
    (server, CatalogConfig { kind: CatalogKind::Rest, uri, name, warehouse, properties, stores: Stores::default() })
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let (name, value) = match header.trim().split_once(": ") {
            Some((name, value)) => (name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
        match name.as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => token = value.strip_prefix("Bearer ")?.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let form = || String::from_utf8_lossy(&body).into_owned().into();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| form());
    Some(Request { method, path, token, body })
}

impl Server {
    fn answer(&self, mut stream: TcpStream) {
        let Some(request) = read_request(&stream) else { return };
        let Some((status, body)) = self.handle(&request) else { return };
        if status == SILENCE {
            // Until the client hangs up.
            drop(stream.read(&mut [0]));
            return;
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).expect("the client is there");
    }

    fn handle(&self, request: &Request) -> Option<(u16, Value)> {
        let less = |ignored: u32| ignored.checked_sub(1);
        if self.ignored.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return None;
        }
        if request.path == "/v1/oauth/tokens" {
            return Some(self.issue(request.body.as_str().unwrap_or_default()));
        }
        if !self.tokens.lock().expect("no panic").contains(&request.token) {
            return Some((401, json!({ "error": { "message": "who are you?" } })));
        }
        if request.path == "/v1/config" {
            return Some((200, json!({ "overrides": { "prefix": "p/q", "namespace-separator": "%2E" } })));
        }
        let path = request.path.strip_prefix("/v1/p/q/")?;
        let mut tables = self.tables.lock().expect("no panic");
        let not_found = (404, json!({ "error": { "message": "no such table" } }));
        match (request.method.as_str(), path.split('/').collect::<Vec<_>>().as_slice()) {
            ("POST", ["namespaces"]) => Some((409, json!({ "error": { "message": "is there" } }))),
            ("GET", ["namespaces", namespace, "tables"]) => {
                let parts: Vec<&str> = namespace.split("%2E").collect();
                let of_namespace =
                    tables.keys().filter_map(|key| key.strip_prefix(&format!("namespaces/{namespace}/tables/")));
                let names: Vec<Value> =
                    of_namespace.map(|name| json!({ "namespace": parts, "name": name.replace("%20", " ") })).collect();
                Some((200, json!({ "identifiers": names })))
            }
            ("POST", ["namespaces", _, "tables"]) => {
                let key = format!("{path}/{}", request.body["name"].as_str()?.replace(' ', "%20"));
                if tables.contains_key(&key) {
                    return Some((409, Value::Null));
                }
                let creation = self.creation(&request.body);
                let built = TableMetadataBuilder::from_table_creation(creation).and_then(|builder| builder.build());
                let metadata = built.expect("a good request").metadata;
                tables.insert(key.clone(), (metadata, 0));
                Some((200, table_json(&tables[&key])))
            }
            ("GET", _) => Some(tables.get(path).map_or(not_found, |table| (200, table_json(table)))),
            ("DELETE", _) => Some(tables.remove(path).map_or(not_found, |_| (204, Value::Null))),
            ("POST", _) => match tables.get_mut(path) {
                None => Some(not_found),
                Some(table) => self.commit(table, &request.body),
            },
            other => panic!("unexpected request {other:?}"),
        }
    }

    fn issue(&self, form: &str) -> (u16, Value) {
        let wanted = "grant_type=client_credentials&client_secret=hunter2&client_id=me&scope=catalog";
        if form != wanted {
            return (401, json!({ "error": "invalid_client", "error_description": "wrong secret" }));
        }
        let token = format!("t{}", self.issued.fetch_add(1, Ordering::SeqCst));
        if !self.closed.load(Ordering::SeqCst) {
            self.tokens.lock().expect("no panic").push(token.clone());
        }
        (200, json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 }))
    }

    fn creation(&self, body: &Value) -> TableCreation {
        let schema: IcebergSchema = serde_json::from_value(body["schema"].clone()).expect("a schema");
        let spec: UnboundPartitionSpec = serde_json::from_value(body["partition-spec"].clone()).expect("a spec");
        let order: SortOrder = serde_json::from_value(body["write-order"].clone()).expect("an order");
        let properties: HashMap<String, String> =
            serde_json::from_value(body["properties"].clone()).expect("properties");
        let name = body["name"].as_str().expect("a name");
        TableCreation::builder()
            .name(name.to_owned())
            .location(format!("{}/{name}", self.warehouse))
            .schema(schema)
            .partition_spec(spec)
            .sort_order(order)
            .properties(properties)
            .build()
    }

    fn commit(&self, table: &mut (TableMetadata, u32), body: &Value) -> Option<(u16, Value)> {
        let fault = self.faults.lock().expect("no panic").pop();
        match fault {
            Some(Fault::Hangup) => return None,
            Some(Fault::Forbidden) => return Some((403, json!({ "error": { "message": "read only" } }))),
            Some(Fault::LandsThen502 | Fault::LandsInSilence) | None => {}
        }
        let requirements: Vec<TableRequirement> =
            serde_json::from_value(body["requirements"].clone()).expect("requirements");
        let updates: Vec<TableUpdate> = serde_json::from_value(body["updates"].clone()).expect("updates");
        if requirements.iter().any(|requirement| requirement.check(Some(&table.0)).is_err()) {
            return Some((409, json!({ "error": { "message": "requirement failed" } })));
        }
        let mut builder = table.0.clone().into_builder(Some(format!("v{}", table.1)));
        for update in updates {
            builder = update.apply(builder).expect("an update that fits");
        }
        *table = (builder.build().expect("good metadata").metadata, table.1 + 1);
        Some(match fault {
            Some(Fault::LandsInSilence) => (SILENCE, Value::Null),
            Some(_) => (502, Value::Null),
            None => (200, table_json(table)),
        })
    }
}

fn table_json((metadata, version): &(TableMetadata, u32)) -> Value {
    json!({ "metadata-location": format!("v{version}"), "metadata": metadata, "config": {} })
}

fn nested() -> TableName {
    TableName::parse("marts.daily.page hits").expect("a name")
}

#[tokio::test]
async fn tables_are_created_changed_listed_and_dropped_over_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, config) = serve(folder.path());
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    assert!(catalog.load(&nested()).await.expect("an answer").is_none());
    let table = catalog.create(&nested(), &spec(vec![hour_of("t")])).await.expect("created");
    assert_eq!(table.partitions().expect("known"), [hour_of("t")]);
    let again = catalog.create(&nested(), &spec(Vec::new())).await.expect("it is there");
    assert_eq!(again.uuid(), table.uuid());
    assert_eq!(catalog.list(&nested().namespace).await.expect("listed"), [nested()]);

    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = stage(&table, &[(Some(0), Some("a"), 1), (Some(HOUR), None, 2)]).await;
    catalog.commit(&change).await.expect("appended");
    let mut change = Change { operation: Operation::Overwrite, ..Change::nothing(&table) };
    change.remove = hours(0, 1);
    change.add = stage(&table, &[(Some(5), None, 3)]).await;
    let done = catalog.commit(&change).await.expect("overwritten");
    assert_eq!((done.removed_records, done.attempts), (1, 1));
    let table = catalog.load(&nested()).await.expect("an answer").expect("a table");
    assert_eq!(values_of(&table).await, [2, 3]);
    assert!(catalog.drop(&nested()).await.expect("dropped"));
    assert!(!catalog.drop(&nested()).await.expect("not there"));
    let error = catalog.commit(&change).await.expect_err("dropped");
    assert!(matches!(error, CommitError::TableGone { .. }), "{error}");
}

#[tokio::test]
async fn faults_of_a_rest_server_are_looked_up_and_refusals_are_final() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, config) = serve(folder.path());
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    let table = catalog.create(&nested(), &spec(Vec::new())).await.expect("created");
    for (fault, attempts) in [(Fault::LandsThen502, 1), (Fault::Hangup, 2)] {
        server.faults.lock().expect("no panic").push(fault);
        let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
        change.add = stage(&table, &[(Some(0), None, i64::from(attempts))]).await;
        assert_eq!(catalog.commit(&change).await.expect("landed").attempts, attempts, "{fault:?}");
    }
    server.faults.lock().expect("no panic").push(Fault::Forbidden);
    let change = Change { operation: Operation::Empty, ..Change::nothing(&table) };
    let error = catalog.commit(&change).await.expect_err("refused").to_string();
    assert_eq!(
        error,
        "table marts.daily.page hits: this isn't allowed (403 Forbidden: read only); have the right granted at the catalog"
    );
    let table = catalog.load(&nested()).await.expect("an answer").expect("a table");
    assert_eq!((table.ancestors().len(), values_of(&table).await), (2, vec![1, 2]));
}

#[tokio::test]
async fn b12_a_commit_that_a_catalog_never_answers_ends_in_time_and_is_looked_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, config) = serve(folder.path());
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    let table = catalog.create(&nested(), &spec(Vec::new())).await.expect("created");
    server.faults.lock().expect("no panic").push(Fault::LandsInSilence);
    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = stage(&table, &[(Some(0), None, 1)]).await;
    let committed = tokio::time::timeout(std::time::Duration::from_secs(60), catalog.commit(&change)).await;
    assert_eq!(committed.expect("it doesn't wait for ever").expect("it had landed").attempts, 1);
    let table = catalog.load(&nested()).await.expect("an answer").expect("a table");
    assert_eq!((table.ancestors().len(), values_of(&table).await), (1, vec![1]));
}

#[tokio::test]
async fn the_right_to_commit_is_tried_by_a_commit_that_can_not_succeed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, config) = serve(folder.path());
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    catalog.check_create(&nested().namespace).await.expect("it may be listed");
    let table = catalog.create(&nested(), &spec(Vec::new())).await.expect("created");
    catalog.check_commit(&table).await.expect("allowed");
    let version = |server: &Server| server.tables.lock().expect("no panic").values().map(|table| table.1).sum::<u32>();
    assert_eq!(version(&server), 0, "nothing was committed");
    server.faults.lock().expect("no panic").push(Fault::Forbidden);
    let error = catalog.check_commit(&table).await.expect_err("not allowed");
    assert!(error.is_refusal(), "{error}");
    assert_eq!(
        error.to_string(),
        "catalog `rest` refuses to commit to table marts.daily.page hits: this isn't allowed (403 Forbidden: read only); \
         have the right granted at the catalog"
    );
    server.ignored.store(ATTEMPTS, Ordering::SeqCst);
    assert!(!catalog.check_commit(&table).await.expect_err("nobody answers").is_refusal());
}

#[tokio::test]
async fn a_question_that_is_not_answered_is_asked_again_and_a_commit_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, config) = serve(folder.path());
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    let ignore = |requests: u32| server.ignored.store(requests, Ordering::SeqCst);
    ignore(2);
    catalog.create(&nested(), &spec(Vec::new())).await.expect("created");
    ignore(ATTEMPTS - 1);
    let table = catalog.load(&nested()).await.expect("an answer").expect("a table");
    ignore(ATTEMPTS);
    let error = catalog.load(&nested()).await.expect_err("nobody answers");
    assert!(!error.is_refusal() && error.to_string().contains("no answer from http://127.0.0.1:"), "{error}");
    assert_eq!(server.ignored.load(Ordering::SeqCst), 0);
    server.faults.lock().expect("no panic").push(Fault::Hangup);
    let mut change = Change { operation: Operation::Append, ..Change::nothing(&table) };
    change.add = stage(&table, &[(Some(0), None, 1)]).await;
    let committed = catalog.commit(&change).await.expect("looked up, and tried again");
    assert_eq!(committed.attempts, 2);
}

#[tokio::test]
async fn a_token_is_had_for_client_credentials_used_until_it_is_refused_and_renewed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut config) = serve(folder.path());
    config.properties = Properties::from_iter([("credential".to_owned(), "me:hunter2".to_owned())]);
    let catalog = Catalog::open(&config, folder.path()).await.expect("a catalog");
    assert!(catalog.load(&nested()).await.expect("an answer").is_none());
    assert_eq!(server.issued.load(Ordering::SeqCst), 1, "one for both questions");
    server.tokens.lock().expect("no panic").clear();
    assert!(catalog.load(&nested()).await.expect("an answer").is_none());
    assert_eq!(server.issued.load(Ordering::SeqCst), 2);

    server.tokens.lock().expect("no panic").clear();
    server.closed.store(true, Ordering::SeqCst);
    let error = catalog.load(&nested()).await.expect_err("no token is taken any more");
    assert!(error.is_refusal() && error.to_string().contains("check catalog.credential"), "{error}");
    assert_eq!(server.issued.load(Ordering::SeqCst), 3, "asked once more, and no oftener");

    config.properties = Properties::from_iter([("credential".to_owned(), "me:hunter3".to_owned())]);
    let error = Catalog::open(&config, folder.path()).await.expect_err("wrong secret");
    assert!(error.is_refusal() && error.to_string().contains("401 Unauthorized: wrong secret"), "{error}");
    assert!(!format!("{error} {error:?} {config:?}").contains("hunter3"), "no secret is shown");
}

#[tokio::test]
async fn a_rest_server_that_cannot_be_used_is_named_with_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, mut config) = serve(folder.path());
    config.properties = Properties::default();
    let error = Catalog::open(&config, folder.path()).await.expect_err("no token").to_string();
    assert_eq!(
        error,
        "catalog `rest` refuses to tell its configuration: who asks isn't known (401 Unauthorized: who are you?); set \
         catalog.token, or catalog.credential"
    );
    config.uri = "http://127.0.0.1:1".into();
    let error = Catalog::open(&config, folder.path()).await.expect_err("nobody there").to_string();
    let expected = "catalog `rest` failed to tell its configuration: no answer from http://127.0.0.1:1/v1 (";
    assert!(error.starts_with(expected) && error.ends_with("); check catalog.uri, and the network"), "{error}");
}

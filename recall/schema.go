package recall

// schema is the layout of recall.db. Texts in it are redacted. "words" holds tokens of package words.
//
//	episode  one row per episode        session  title and privacy of a session,
//	                                             when a peer's words came into it
//	words    the full-text index        file     how far each recording was read
//	record   which episode a record of  exclude  directories that are not indexed
//	         a recording belongs to     secret   fingerprints of values that are redacted
const schema = `
CREATE TABLE IF NOT EXISTS episode (
	id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, session TEXT NOT NULL, sub TEXT NOT NULL,
	dir TEXT NOT NULL, branch TEXT NOT NULL, kind TEXT NOT NULL, secondhand INTEGER NOT NULL, begun INTEGER NOT NULL, ended INTEGER NOT NULL,
	prompt TEXT NOT NULL, text TEXT NOT NULL, code TEXT NOT NULL, output TEXT NOT NULL, files TEXT NOT NULL,
	removed INTEGER NOT NULL, records BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS episode_session ON episode (session);
CREATE INDEX IF NOT EXISTS episode_ended ON episode (ended);
CREATE INDEX IF NOT EXISTS episode_dir ON episode (dir);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(prompt, text, code, output, place,
	content='', contentless_delete=1, tokenize="unicode61 remove_diacritics 0 tokenchars '_'");
CREATE VIRTUAL TABLE IF NOT EXISTS vocabulary USING fts5vocab(words, row);
CREATE TABLE IF NOT EXISTS record (hash INTEGER PRIMARY KEY, episode INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS session (id TEXT PRIMARY KEY, title TEXT NOT NULL, private INTEGER NOT NULL,
	foreign_at INTEGER NOT NULL DEFAULT 0, released INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL,
	offset INTEGER NOT NULL, resume INTEGER NOT NULL, open TEXT NOT NULL, head BLOB NOT NULL, skipped INTEGER NOT NULL, problem TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS exclude (dir TEXT PRIMARY KEY, added INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (hash INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS secret (mac BLOB PRIMARY KEY, length INTEGER NOT NULL) WITHOUT ROWID;
`

// pragmas are set on each connection. A commit that a power failure takes back is read again from
// the recordings, so the log is not synced at each of them.
var pragmas = []string{
	"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "cache_size(-16000)", "temp_store(MEMORY)",
	"wal_autocheckpoint(1000)", "secure_delete(ON)",
}

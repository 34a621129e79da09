package words

import (
	"slices"
	"strings"
)

// alike are groups of words that people use for the same thing when they talk about software. One
// group a line. They are compared as stems.
const alike = `
crash panic abort die fatal segfault
kill terminate sigkill sigterm
hang freeze stuck stall block deadlock unresponsive
slow latency sluggish performance delay
timeout deadline expire
reject refuse deny forbid forbidden disallow unauthorized
large big huge oversized
remove delete drop erase evict
create insert append
start boot launch startup
stop shutdown exit quit
restart reboot reload redeploy
fetch download retrieve load
send transmit push emit publish
receive consume
picture image photo avatar
machine host node server
database db sql
postgres postgresql pg
mysql mariadb
kubernetes k8s kubectl
container docker pod
javascript js
typescript ts
python py
directory folder
config configuration setting option
environment env
certificate cert x509 tls ssl
authenticate authentication auth login signin
authorization permission privilege
password credential
memory heap ram oom
cpu processor
disk volume storage filesystem
thread goroutine worker
function method callable procedure
parameter argument
array list slice vector
map dictionary dict hashmap
number integer int float
null nil none undefined
object instance
duplicate twice repeated
missing lost vanish disappear absent
concurrent parallel race simultaneous
lock mutex
queue backlog inbox mailbox
message event notification
job task batch
schedule cron timer
proxy gateway balancer
connection socket session
disconnect close closed
upgrade update bump
dependency package library module crate gem
compile build bundle
deploy release rollout
pipeline ci workflow runner
script command
repository repo
sort order
search query lookup
row record entry
column field attribute property
transaction rollback
timestamp datetime date
timezone tz dst
encoding charset utf8 unicode
character char byte
parse decode deserialize unmarshal
serialize encode marshal
render display show draw
page screen view
webhook callback hook
endpoint route url
answer response reply
grow increase climb leak
limit quota maximum max bound
full exhausted exceed
stale outdated old
wrong incorrect invalid
differ different mismatch
change modify edit mutate
iterate iteration loop
async asynchronous coroutine promise future await
garbage gc collector
exception throw raise
import require include
mail email smtp
payment invoice billing
gpu cuda
flaky intermittent random sometimes
production prod
development dev
user account customer
replica replication
partition shard
idle inactive quiet
write save persist store
certificate authority ca
address ip
component widget
stutter jank lag
freshly new
heavy expensive
spread distribute balance
megabyte mb
gigabyte gb
millisecond ms
`

// others are the other words of the groups that a stem is in, as stems.
var others = func() map[string][]string {
	out := map[string][]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(alike), "\n") {
		var group []string
		for _, w := range strings.Fields(line) {
			if s := Stem(w); !slices.Contains(group, s) {
				group = append(group, s)
			}
		}
		for _, w := range group {
			for _, o := range group {
				if o != w && !slices.Contains(out[w], o) {
					out[w] = append(out[w], o)
				}
			}
		}
	}
	return out
}()

// Alike returns what people also say for token.
func Alike(token string) []string { return others[token] }

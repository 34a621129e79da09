package cli

import (
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"
)

func completionVerb() *verb {
	shell := func(name, how string, script func(*verb) string) *verb {
		return &verb{name: name, usage: "print the completion script for " + name, examples: []string{how},
			run: func(_ context.Context, c *call) error {
				fmt.Fprint(c.stdout, script(c.root))
				return nil
			}}
	}
	return &verb{
		name: "completion", heading: headRun, usage: "print a completion script for bash, zsh or fish",
		subs: []*verb{
			shell("bash", "claudemesh completion bash > /etc/bash_completion.d/claudemesh", bashScript),
			shell("zsh", `claudemesh completion zsh > "${fpath[1]}/_claudemesh"`, zshScript),
			shell("fish", "claudemesh completion fish > ~/.config/fish/completions/claudemesh.fish", fishScript),
		},
	}
}

// words returns what may follow a path: the verbs below it, or its flags.
func words(v *verb) (subs, flags string) {
	var names []string
	for _, f := range v.flags {
		names = append(names, "--"+f.Names()[0])
	}
	return strings.Join(subNames(v), " "), strings.Join(append(names, "--help"), " ")
}

// The scripts find the longest run of words that names a verb, and offer what is below it. They need no running program.

func bashScript(root *verb) string {
	return "# bash completion of claudemesh\n_claudemesh() {\n" + findVerb("${COMP_WORDS[@]:1:COMP_CWORD-1}", root) +
		`	case "${COMP_WORDS[COMP_CWORD]}" in
	-*) COMPREPLY=($(compgen -W "$flags" -- "${COMP_WORDS[COMP_CWORD]}")) ;;
	*) COMPREPLY=($(compgen -W "$subs" -- "${COMP_WORDS[COMP_CWORD]}")) ;;
	esac
}
complete -o default -F _claudemesh claudemesh
`
}

func zshScript(root *verb) string {
	return "#compdef claudemesh\n_claudemesh() {\n" + findVerb("${words[@]:1:$((CURRENT-2))}", root) +
		`	if [[ "${words[CURRENT]}" == -* ]]; then
		compadd -- ${(s: :)flags}
	elif [[ -n "$subs" ]]; then
		compadd -- ${(s: :)subs}
	else
		_files
	fi
}
if [[ "$funcstack[1]" == "_claudemesh" ]]; then _claudemesh "$@"; else compdef _claudemesh claudemesh; fi
`
}

// findVerb is the part that bash and zsh share: it sets subs and flags for the words before the cursor.
func findVerb(before string, root *verb) string {
	var b strings.Builder
	subs, flags := words(root)
	fmt.Fprintf(&b, "\tlocal word key= subs=%q flags=%q\n\tfor word in %s; do\n\t\tcase \"$key $word\" in\n", subs, flags, `"`+before+`"`)
	root.walk(nil, func(path []string, v *verb) {
		if len(path) == 0 {
			return
		}
		parent := strings.Join(append([]string{""}, path[:len(path)-1]...), " ")
		var names []string
		for _, n := range v.names() {
			names = append(names, fmt.Sprintf("%q", parent+" "+n))
		}
		subs, flags := words(v)
		fmt.Fprintf(&b, "\t\t%s) key=%q subs=%q flags=%q ;;\n", strings.Join(names, "|"), parent+" "+v.name, subs, flags)
	})
	b.WriteString("\t\tesac\n\tdone\n")
	return b.String()
}

func fishScript(root *verb) string {
	var b strings.Builder
	b.WriteString("# fish completion of claudemesh\ncomplete -c claudemesh -f\n")
	root.walk(nil, func(path []string, v *verb) {
		condition := "__fish_use_subcommand"
		if len(path) > 0 {
			condition = "__fish_seen_subcommand_from " + strings.Join(v.names(), " ")
			if len(path) > 1 {
				condition = "__fish_seen_subcommand_from " + path[len(path)-2] + "; and " + condition
			}
		}
		for _, s := range v.subs {
			fmt.Fprintf(&b, "complete -c claudemesh -n %q -a %s -d %q\n", condition, s.name, s.usage)
		}
		for _, f := range v.flags {
			d := f.(urfave.DocGenerationFlag) // every flag of urfave/cli is one
			needs := ""
			if d.TakesValue() {
				needs = " -r"
			}
			fmt.Fprintf(&b, "complete -c claudemesh -n %q -l %s%s -d %q\n", condition, f.Names()[0], needs, strings.ReplaceAll(d.GetUsage(), "`", ""))
		}
	})
	return b.String()
}

package cli

import (
	"context"
	"fmt"
)

func completionVerb() *verb {
	shell := func(name, how, script string) *verb {
		return &verb{name: name, usage: "print the completion script for " + name, examples: []string{how},
			run: func(_ context.Context, c *call) error {
				fmt.Fprint(c.stdout, script)
				return nil
			}}
	}
	return &verb{
		name: "completion", heading: headRun, usage: "print a completion script for bash, zsh or fish",
		about: "The scripts ask the executable, so they need not be made anew after an upgrade.",
		subs: []*verb{
			shell("bash", "claudemesh completion bash > /etc/bash_completion.d/claudemesh", bashScript),
			shell("zsh", `claudemesh completion zsh > "${fpath[1]}/_claudemesh"`, zshScript),
			shell("fish", "claudemesh completion fish > ~/.config/fish/completions/claudemesh.fish", fishScript),
		},
	}
}

// The scripts hand the words up to the cursor to `complete`, of whatever executable the line begins with. What it answers is
// never given to the shell to expand: peers choose names.

// bashScript takes the words from the line itself, because bash splits them at @, = and : too; of a candidate, bash wants only what
// is behind a = or a :.
const bashScript = `# bash completion of claudemesh
_claudemesh() {
	local line="${COMP_LINE:0:COMP_POINT}" word breaks cut candidate
	local -a words
	IFS=$' \t\n' read -ra words <<<"$line"
	[[ $line == *[[:blank:]] ]] && words+=("")
	word="${words[${#words[@]}-1]}"
	breaks="${COMP_WORDBREAKS//[^=:]/}" cut=
	[[ -n $breaks ]] && cut="${word%"${word##*[$breaks]}"}"
	COMPREPLY=()
	while IFS= read -r candidate; do
		[[ $candidate == :files ]] || COMPREPLY+=("${candidate#"$cut"}")
	done < <("$1" complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _claudemesh claudemesh
`

const zshScript = `#compdef claudemesh
_claudemesh() {
	local -a candidates
	candidates=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ "${candidates[1]}" == :files ]]; then
		_files
	elif [[ -n "${candidates[1]}" ]]; then
		compadd -- "${candidates[@]}"
	fi
}
if [[ "$funcstack[1]" == "_claudemesh" ]]; then _claudemesh "$@"; else compdef _claudemesh claudemesh; fi
`

const fishScript = `# fish completion of claudemesh
function __claudemesh_complete
	set -l words (commandline -opc)
	set -l word (commandline -ct)
	set -l candidates ($words[1] complete -- $words[2..-1] "$word" 2>/dev/null)
	if test "$candidates[1]" = :files
		__fish_complete_path "$word"
	else
		string join \n -- $candidates
	end
end
complete -c claudemesh -f -a '(__claudemesh_complete)'
`

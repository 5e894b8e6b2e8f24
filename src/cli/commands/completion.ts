import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import { COMMON } from '../common-options.ts';
import type { Command, Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';

export async function run({ argument = '', table, ui }: Invocation): Promise<number> {
  const script = { bash, zsh, fish }[argument];
  if (script === undefined) {
    throw new InvalidArgumentError(`There is no completion for ${quote(argument, 40)}.`, {
      hint: 'Choose one of: bash, zsh, fish',
    });
  }
  ui.data(script(table));
  return EXIT.done;
}

function optionsOf({ options }: Command): string[] {
  return Object.keys({ ...options, ...COMMON }).map((option) => `--${option}`);
}

/** Resources come from the list itself, which asks no server. */
const RESOURCES =
  'holdfast list --json 2>/dev/null | sed -n \'s/^ *"resource": "\\(.*\\)",*$/\\1/p\' | sort -u';

function bash(table: readonly Command[]): string {
  const cases = table.map(
    (command) =>
      `    ${command.name}) words="${optionsOf(command).join(' ')}${command.argument?.name === 'SHELL' ? ' bash zsh fish' : ''}" ;;`,
  );
  return `# bash completion for holdfast
_holdfast() {
  local current=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${table.map(({ name }) => name).join(' ')}" -- "$current"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case \${COMP_WORDS[1]} in
    token | headers | logout | login)
      # A colon splits words in bash; the part that is typed already is taken off each candidate.
      local typed=\${COMP_LINE:0:COMP_POINT} url
      typed=\${typed##* }
      while IFS= read -r url; do
        case $url in "$typed"*) COMPREPLY+=("\${url#"\${typed%"$current"}"}") ;; esac
      done < <(${RESOURCES})
      ;;
  esac
}
complete -o default -F _holdfast holdfast`;
}

function zsh(table: readonly Command[]): string {
  const cases = table.map(
    (command) =>
      `    ${command.name}) compadd -- ${optionsOf(command).join(' ')}${command.argument?.name === 'SHELL' ? ' bash zsh fish' : ''} ;;`,
  );
  return `#compdef holdfast
_holdfast() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(${table.map(({ name, summary }) => `'${name}:${summary.replaceAll("'", "'\\''").replaceAll(':', '\\:')}'`).join(' ')})
    _describe command commands
    return
  fi
  case $words[2] in
${cases.join('\n')}
  esac
  case $words[2] in
    token | headers | logout | login) compadd -- \${(f)"$(${RESOURCES})"} ;;
  esac
}
compdef _holdfast holdfast`;
}

function fish(table: readonly Command[]): string {
  const escape = (text: string) => text.replaceAll("'", "\\'");
  const lines = table.flatMap(({ name, summary, options }) => [
    `complete -c holdfast -n __fish_use_subcommand -a ${name} -d '${escape(summary)}'`,
    ...Object.entries({ ...options, ...COMMON }).map(
      ([option, { short, type, summary: what }]) =>
        `complete -c holdfast -n '__fish_seen_subcommand_from ${name}' -l ${option}${short === undefined ? '' : ` -s ${short}`}${type === 'string' ? ' -r' : ''} -d '${escape(what)}'`,
    ),
  ]);
  return `# fish completion for holdfast
complete -c holdfast -f
${lines.join('\n')}
complete -c holdfast -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c holdfast -n '__fish_seen_subcommand_from token headers logout login' -a "(${RESOURCES.replaceAll('"', '\\"').replaceAll('$/', '\\$/')})"`;
}

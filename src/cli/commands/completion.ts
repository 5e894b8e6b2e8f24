import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Command, Invocation, Option } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { COMMON } from '../options/common.ts';

export async function run({ argument = '', table, ui }: Invocation): Promise<number> {
  const script = new Map([
    ['bash', bash],
    ['zsh', zsh],
    ['fish', fish],
  ]).get(argument);
  if (script === undefined) {
    throw new InvalidArgumentError(`There is no completion for ${quote(argument, 40)}.`, {
      hint: 'Choose one of: bash, zsh, fish',
    });
  }
  ui.dataExact(script(await table()));
  return EXIT.done;
}

/** Resources come from `holdfast list`, which contacts no server. */
const RESOURCES =
  'holdfast list --json 2>/dev/null | sed -n \'s/^ *"resource": "\\(.*\\)",*$/\\1/p\' | sort -u';

function optionsOf({ options }: Command): readonly (readonly [name: string, option: Option])[] {
  return Object.entries({ ...options, ...COMMON });
}

/** The spellings of an option, such as `-k --keyring`, as a shell's `case` or one-word test takes them. */
function spellings(name: string, { short }: Option): readonly string[] {
  return short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];
}

function completesUrl({ argument }: Command): boolean {
  return argument?.name === 'URL';
}

function bash(table: readonly Command[]): string {
  const cases = table.map((command) => {
    const options = optionsOf(command);
    const taking = options.filter(([, { type }]) => type === 'string');
    const values = taking.map(
      ([name, option]) =>
        `          ${spellings(name, option).join(' | ')}) words="${option.choices?.join(' ') ?? ''}" ;;\n`,
    );
    const argument = completesUrl(command)
      ? '          *) _holdfast_urls; return ;;'
      : `          *) words="${command.argument?.choices?.join(' ') ?? ''}" ;;`;
    return `    ${command.name})
      case $current in
        -*) words="${options.map(([name]) => `--${name}`).join(' ')}" ;;
        *) case $before in
${values.join('')}${argument}
        esac ;;
      esac ;;`;
  });
  return `# bash completion for holdfast

# A colon splits words in bash, so what is typed already is taken off each candidate.
_holdfast_urls() {
  local typed=\${COMP_LINE:0:COMP_POINT} rest url
  typed=\${typed##* }
  rest=$typed
  case $COMP_WORDBREAKS in *:*) rest=\${rest##*:} ;; esac
  case $COMP_WORDBREAKS in *=*) rest=\${rest##*=} ;; esac
  while IFS= read -r url; do
    case $url in "$typed"*) COMPREPLY+=("\${url#"\${typed%"$rest"}"}") ;; esac
  done < <(${RESOURCES})
}

_holdfast() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${table.map(({ name }) => name).join(' ')} help" -- "$current"))
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
    help) words="${table.map(({ name }) => name).join(' ')}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _holdfast holdfast`;
}

function zsh(table: readonly Command[]): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const described = (name: string, what: string) => quoted(`${name.replaceAll(':', '\\:')}:${what}`);
  const cases = table.map((command) => {
    const options = optionsOf(command);
    const values = options
      .filter(([, { type }]) => type === 'string')
      .map(
        ([name, option]) =>
          `        ${spellings(name, option).join('|')}) compadd -- ${option.choices?.join(' ') ?? ''}; return ;;\n`,
      );
    const argument = completesUrl(command)
      ? `compadd -- \${(f)"$(${RESOURCES})"}`
      : `compadd -- ${command.argument?.choices?.join(' ') ?? ''}`;
    return `    ${command.name})
      case $words[CURRENT-1] in
${values.join('')}      esac
      if [[ $words[CURRENT] == -* ]]; then
        list=(${options.map(([name, { summary }]) => described(`--${name}`, summary)).join(' ')})
        _describe option list
      else
        ${argument}
      fi ;;`;
  });
  return `#compdef holdfast
_holdfast() {
  local -a list
  if (( CURRENT == 2 )); then
    list=(${table.map(({ name, summary }) => described(name, summary)).join(' ')})
    _describe command list
    return
  fi
  case $words[2] in
${cases.join('\n')}
  esac
}
compdef _holdfast holdfast`;
}

function fish(table: readonly Command[]): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = table.flatMap((command) => {
    const within = `complete -c holdfast -n '__fish_seen_subcommand_from ${command.name}'`;
    return [
      `complete -c holdfast -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.summary)}`,
      ...optionsOf(command).map(([name, { short, type, choices, summary }]) =>
        [
          `${within} -l ${name}`,
          ...(short === undefined ? [] : [`-s ${short}`]),
          ...(type === 'string' ? ['-x'] : []),
          ...(choices === undefined ? [] : [`-a ${quoted(choices.join(' '))}`]),
          `-d ${quoted(summary)}`,
        ].join(' '),
      ),
      ...(command.argument?.choices === undefined
        ? []
        : [`${within} -a ${quoted(command.argument.choices.join(' '))}`]),
      ...(completesUrl(command) ? [`${within} -a '(__holdfast_urls)'`] : []),
    ];
  });
  return `# fish completion for holdfast
function __holdfast_urls
  ${RESOURCES}
end
complete -c holdfast -f
${lines.join('\n')}`;
}

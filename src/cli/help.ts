import type { Command, Option } from './command.ts';
import { COMMON } from './options/common.ts';

const ENVIRONMENT = [
  ['HOLDFAST_HOME', 'where everything lies (default: $XDG_CONFIG_HOME/holdfast, else ~/.config/holdfast)'],
  ['HOLDFAST_KEYRING', 'as --keyring'],
  ['HOLDFAST_STORE', 'as --store'],
  ['HOLDFAST_LOCK', 'flock or lease-file, for file systems where the kernel’s lock does not hold'],
  ['HOLDFAST_PASSPHRASE', 'what opens the file keyring, in place of the passphrase that Holdfast makes'],
  ['HOLDFAST_PASSPHRASE_FILE', 'a file that holds it, such as a mounted secret'],
  ['HOLDFAST_SEALING_KEY_FILE', 'a file that holds the sealing key of many machines; see holdfast key'],
  ['HOLDFAST_SEALING_KEY', 'the key itself; HOLDFAST_SEALING_KEY_COMMAND a command that prints it'],
  ['HOLDFAST_SEALING_KMS', 'a key of a KMS that wraps it: vault+https://…, awskms:///…, gcpkms://…'],
  ['HOLDFAST_CLIENT_ID', 'as --client-id of login, for every server; with the two below'],
  ['HOLDFAST_CLIENT_SECRET', 'its secret; HOLDFAST_CLIENT_SECRET_FILE names a file that holds it'],
  ['HOLDFAST_CLIENT_KEY', 'its private key; HOLDFAST_CLIENT_KEY_FILE names a file that holds it'],
  ['HOLDFAST_CLIENT_METADATA_URL', 'as --client-metadata-url of login'],
  ['HTTPS_PROXY, NO_PROXY', 'the proxy for every request, and the hosts that need none'],
  ['NODE_EXTRA_CA_CERTS', 'certificate authorities of your own, in PEM'],
  ['BROWSER', 'the program that opens the login'],
  ['NO_COLOR', 'set: no colours'],
  ['HOLDFAST_DEBUG', 'set: errors say where they came from'],
] as const;

export function overview(version: string, table: readonly Command[]): string {
  const width = Math.max(...table.map((command) => usageOf(command).length));
  return [
    `holdfast ${version}: log in to an MCP server once; every process then gets a valid access token.`,
    '',
    'Usage: holdfast <command> [options]',
    '',
    ...table.map((command) => `  ${usageOf(command).padEnd(width)}  ${command.summary}`),
    '',
    'holdfast <command> --help says more. holdfast --version prints the version.',
    '',
    'Exit codes: 0 done, 1 failed, 2 usage, 3 login required, 4 keyring locked, denied or missing,',
    '            5 network or server, 6 store damaged, unsafe or full, 129 hung up, 130 interrupted, 143 terminated.',
    '',
    'Environment:',
    ...ENVIRONMENT.map(([name, what]) => `  ${name.padEnd(28)}  ${what}`),
  ].join('\n');
}

export function helpOf(command: Command): string {
  const options = Object.entries({ ...command.options, ...COMMON });
  const rows = options.map(([name, option]) => [optionUsage(name, option), option.summary] as const);
  const width = Math.max(...rows.map(([usage]) => usage.length));
  return [
    `Usage: holdfast ${usageOf(command)} [options]${command.rest === undefined ? '' : ` -- ${command.rest.name}…`}`,
    '',
    `${command.summary[0]?.toUpperCase()}${command.summary.slice(1)}.`,
    command.description,
    '',
    'Options:',
    ...rows.map(([usage, summary]) => `  ${usage.padEnd(width)}  ${summary}`),
    '',
    'Examples:',
    ...command.examples.map(([line, what]) => `  ${line}\n      ${what}`),
  ].join('\n');
}

function usageOf({ name, argument, second }: Command): string {
  const names = [argument, second].map((one) => one && (one.required ? one.name : `[${one.name}]`));
  return [name, ...names].filter(Boolean).join(' ');
}

function optionUsage(name: string, { short, value }: Option): string {
  return `${short === undefined ? '   ' : `-${short},`} --${name}${value === undefined ? '' : ` ${value}`}`;
}

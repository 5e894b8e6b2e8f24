import type { Command, Option } from './command.ts';

/*
 * The one table of commands: parsing, help, completion and the documentation come from it. A command's code is loaded
 * when it is called.
 */

const ACCOUNT: Option = {
  type: 'string',
  short: 'a',
  value: 'LABEL',
  summary: 'which login, where there are several at one server (default: "default")',
};
const KEYRING: Option = {
  type: 'string',
  short: 'k',
  value: 'NAME',
  choices: ['auto', 'native', 'file', 'memory'],
  summary: 'auto, native, file, memory, or one by name (default: $HOLDFAST_KEYRING, config.json, auto)',
};
const TIMEOUT: Option = {
  type: 'string',
  short: 't',
  value: 'SECONDS',
  summary: 'how long to wait for a refresh, whoever does it (default: 60)',
};

const SERVER = { name: 'URL', required: true } as const;

export const COMMANDS: readonly Command[] = [
  {
    name: 'login',
    argument: SERVER,
    summary: 'log in to an MCP server with the browser',
    description:
      'Finds the server’s authorization server, registers with it, opens the browser and keeps the login, sealed under the\nstrongest keyring that works here. Where no browser can be opened, the URL is printed.',
    options: {
      account: ACCOUNT,
      keyring: KEYRING,
      timeout: { ...TIMEOUT, summary: 'how long the login in the browser may take (default: 300)' },
      scope: {
        type: 'string',
        value: 'SCOPES',
        summary: 'scopes to ask for, separated by spaces or commas, in place of what the server suggests',
      },
      'callback-port': {
        type: 'string',
        value: 'PORT',
        summary: 'where the browser comes back to, on 127.0.0.1 (default: any free port)',
      },
      'no-browser': { type: 'boolean', summary: 'print the URL and open nothing' },
      'allow-memory': {
        type: 'boolean',
        summary: 'log in even if nothing can be kept: the login ends with this command',
      },
    },
    examples: [
      ['holdfast login https://mcp.notion.com/mcp', 'log in'],
      ['holdfast login https://mcp.notion.com/mcp --account work', 'a second login at the same server'],
      ['ssh -L 4180:127.0.0.1:4180 HOST holdfast login URL --callback-port 4180', 'on another machine'],
    ],
    load: () => import('./commands/login.ts'),
  },
  {
    name: 'list',
    summary: 'show every login: state, expiry, scopes, keyring',
    description: 'Shows no secret, and asks no server.',
    options: { keyring: KEYRING },
    examples: [
      ['holdfast list', 'for people'],
      ['holdfast list --json | jq -r ".credentials[].resource"', 'for programs'],
    ],
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'token',
    argument: SERVER,
    summary: 'print a valid access token, refreshed if need be',
    description:
      'Prints the token and nothing else on stdout. However many processes ask at once, an expired token is refreshed once.',
    options: {
      account: ACCOUNT,
      keyring: KEYRING,
      timeout: TIMEOUT,
      refused: {
        type: 'string',
        value: 'GENERATION',
        summary: 'the server answered 401 to the token of this generation (see --json): get a newer one',
      },
    },
    examples: [
      ['TOKEN=$(holdfast token https://mcp.notion.com/mcp)', 'in a script'],
      ['holdfast token https://mcp.notion.com/mcp --json', 'with its type, expiry and generation'],
    ],
    load: () => import('./commands/token.ts'),
  },
  {
    name: 'headers',
    argument: SERVER,
    summary: 'print the HTTP headers that carry the token',
    description: 'One header a line; with --json an object, as clients with a headers helper expect it.',
    options: { account: ACCOUNT, keyring: KEYRING, timeout: TIMEOUT },
    examples: [
      ['holdfast headers URL | curl --header @- URL', 'for curl; the token is in no command line'],
      ['holdfast headers URL --json', 'for a client’s headers helper'],
    ],
    load: () => import('./commands/headers.ts'),
  },
  {
    name: 'logout',
    argument: SERVER,
    summary: 'revoke the tokens at the server and remove the login',
    description:
      'The login is removed here even if the server cannot be told; that it could not is reported, with exit code 5.',
    options: { account: ACCOUNT, keyring: KEYRING },
    examples: [['holdfast logout https://mcp.notion.com/mcp', 'log out']],
    load: () => import('./commands/logout.ts'),
  },
  {
    name: 'rekey',
    summary: 'seal every login under a new key, or under another keyring',
    description:
      'Without --to, makes a new sealing key in each keyring that has one. Interrupted at any moment, every login stays\nreadable; run it again for the rest. New logins go to the strongest keyring all the same, unless one is chosen.',
    options: {
      keyring: KEYRING,
      to: {
        type: 'string',
        value: 'NAME',
        summary: 'the keyring to move the logins to: native, file, or one by name',
      },
    },
    examples: [
      ['holdfast rekey', 'a new key, where the old one may have been seen'],
      ['holdfast rekey --to file', 'from the desktop’s keyring into the file keyring, for use over SSH'],
    ],
    load: () => import('./commands/rekey.ts'),
  },
  {
    name: 'doctor',
    summary: 'check keyrings, files, locks, clock and network settings',
    description:
      'Runs independent checks, each with its remedy; among them a real write, read, compare and delete. Shows no secret.\nExits with 1 if a check fails; a warning alone is no failure.',
    options: { keyring: KEYRING },
    examples: [
      ['holdfast doctor', 'for people'],
      ['holdfast doctor --json', 'for a bug report'],
    ],
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'completion',
    argument: { name: 'SHELL', required: true, choices: ['bash', 'zsh', 'fish'] },
    summary: 'print a completion script for bash, zsh or fish',
    description: 'Writes the script to stdout.',
    options: {},
    examples: [
      [
        'source <(holdfast completion bash)',
        'in ~/.bashrc; for zsh the same with zsh, in ~/.zshrc after compinit',
      ],
      ['holdfast completion fish > ~/.config/fish/completions/holdfast.fish', 'for fish'],
    ],
    load: () => import('./commands/completion.ts'),
  },
];

import type { Command, Option } from './command.ts';
import { LOG } from './options/log.ts';
import { LOGIN_OPTIONS } from './options/login.ts';

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
  summary: 'auto, native, file, memory, or a name (default: $HOLDFAST_KEYRING, config.json)',
};
/** Where logins are kept. */
const KEPT: Readonly<Record<string, Option>> = {
  keyring: KEYRING,
  store: {
    type: 'string',
    value: 'NAME',
    choices: ['directory', 'docker-agent', 'postgres://', 'redis://', 'rediss://'],
    summary: 'directory, docker-agent, or an engine’s URL (default: $HOLDFAST_STORE, directory)',
  },
  'docker-agent-dir': {
    type: 'string',
    value: 'DIR',
    summary: 'docker-agent’s configuration directory (default: ~/.config/cagent)',
  },
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
      'Finds the server’s authorization server, registers with it, opens the browser and keeps the login, sealed under the\nstrongest keyring that works here. Where no browser can be opened, it logs in by a code on another device, if the\nserver has those; else the URL is printed, and the address that the browser ends at may be pasted.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      timeout: { ...TIMEOUT, summary: 'how long the login in the browser may take (default: 300)' },
      scope: {
        type: 'string',
        value: 'SCOPES',
        summary: 'scopes to ask for, by spaces or commas, in place of what the server suggests',
      },
      'callback-port': {
        type: 'string',
        value: 'PORT',
        summary: 'where the browser comes back to, on 127.0.0.1 (default: any free port)',
      },
      'callback-url': {
        type: 'string',
        value: 'URL',
        summary: 'where the browser comes back to instead, with ${callbackPort} for the port',
      },
      browser: { type: 'boolean', summary: 'open the browser, whatever the place looks like' },
      device: { type: 'boolean', summary: 'log in with a code on another device (RFC 8628)' },
      paste: { type: 'boolean', summary: 'print the URL, and take the address that the browser ends at' },
      'no-browser': { type: 'boolean', summary: 'print the URL, open nothing, and wait for the redirect' },
      'no-input': { type: 'boolean', summary: 'ask nobody: end with exit code 3 where a person is needed' },
      'allow-memory': {
        type: 'boolean',
        summary: 'log in even if nothing can be kept: the login ends with this command',
      },
      ...LOGIN_OPTIONS,
    },
    examples: [
      ['holdfast login https://mcp.notion.com/mcp', 'log in'],
      ['holdfast login https://mcp.notion.com/mcp --account work', 'a second login at the same server'],
      [
        'holdfast login URL --client-credentials --client-id ID --client-secret-file /run/secrets/mcp',
        'a service, without a person',
      ],
      [
        'ssh -L 4180:127.0.0.1:4180 HOST holdfast login URL --no-browser --callback-port 4180',
        'on another machine',
      ],
    ],
    load: () => import('./commands/login.ts'),
  },
  {
    name: 'list',
    summary: 'show every login: state, expiry, scopes, keyring',
    description: 'Shows no secret, and asks no server.',
    options: KEPT,
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
      ...KEPT,
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
    options: {
      account: ACCOUNT,
      ...KEPT,
      timeout: TIMEOUT,
      method: {
        type: 'string',
        value: 'METHOD',
        choices: ['POST', 'GET', 'DELETE'],
        summary: 'for a token that is bound to a key: the request that the headers are for (default: POST)',
      },
      nonce: {
        type: 'string',
        value: 'NONCE',
        summary: 'for such a token: what the server asked for in its DPoP-Nonce header',
      },
    },
    examples: [
      ['holdfast headers URL | curl --header @- URL', 'for curl; the token is in no command line'],
      ['holdfast headers URL --json', 'for a client’s headers helper'],
    ],
    load: () => import('./commands/headers.ts'),
  },
  {
    name: 'run',
    argument: SERVER,
    rest: { name: 'COMMAND' },
    summary: 'run a command with a fresh access token in its environment',
    description:
      'The command gets the access token and nothing else of the login; signals reach it, and its exit code is passed on.\nThe token is not renewed while it runs: what runs for longer asks for tokens itself, or goes through holdfast proxy.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      timeout: TIMEOUT,
      as: {
        type: 'string',
        value: 'NAME',
        summary: 'the variable that holds the token (default: HOLDFAST_ACCESS_TOKEN)',
      },
    },
    examples: [
      ['holdfast run https://mcp.notion.com/mcp --as NOTION_TOKEN -- node agent.js', 'for a program'],
      [`holdfast run URL --as T -- sh -c 'curl -H "Authorization: Bearer $T" …'`, 'for a shell'],
    ],
    load: () => import('./commands/run.ts'),
  },
  {
    name: 'proxy',
    argument: SERVER,
    second: { name: 'PORT', required: false },
    summary: 'be that server on standard input and output, for clients that know no OAuth',
    description:
      'What a client starts in place of mcp-remote: every message goes to the server and back as it is, with the login that\nis here, refreshed in time. Without a login the client is asked to show the page for it, or a browser opens; else\nevery tool call says which command logs in. PORT is the callback port of such a login.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      header: {
        type: 'string',
        value: 'HEADER',
        repeats: true,
        summary: 'sent to that server with every request, as "Name: value"; ${VAR} is the environment’s',
      },
      transport: {
        type: 'string',
        value: 'NAME',
        choices: ['http-first', 'sse-first', 'http-only', 'sse-only'],
        summary: 'which transport the server speaks (default: http-first)',
      },
      'allow-http': {
        type: 'boolean',
        summary: 'plain http to another machine; no login is ever sent over it',
      },
      host: {
        type: 'string',
        value: 'HOST',
        summary: 'of the callback URL: 127.0.0.1 (the default) or localhost',
      },
      debug: { type: 'boolean', summary: 'tell on stderr what happens' },
      log: LOG,
    },
    examples: [
      [
        '{"command": "holdfast", "args": ["proxy", "https://mcp.linear.app/mcp"]}',
        'in a client’s configuration',
      ],
      ['holdfast proxy URL --header "X-Team: ${TEAM}"', 'with a header of your own'],
    ],
    load: () => import('./commands/proxy.ts'),
  },
  {
    name: 'configure',
    argument: {
      name: 'CLIENT',
      required: false,
      choices: [
        'claude-code',
        'claude-desktop',
        'cursor',
        'vscode',
        'codex',
        'gemini',
        'opencode',
        'docker-agent',
      ],
    },
    second: { name: 'URL', required: false },
    summary: 'make an MCP client use the login, in the client’s own configuration file',
    description:
      'Writes an entry that starts holdfast proxy URL, and leaves everything else in the file as it is, byte for byte. No\nsecret is written. CLIENT is one of: claude-code, claude-desktop, cursor, vscode, codex, gemini, opencode, docker-agent.',
    options: {
      account: ACCOUNT,
      name: {
        type: 'string',
        value: 'NAME',
        summary: 'the entry’s name (default: from the URL, such as notion)',
      },
      scope: {
        type: 'string',
        value: 'SCOPE',
        choices: ['user', 'project'],
        summary: 'user: for all your projects (the default); project: for the one in this directory',
      },
      file: { type: 'string', value: 'FILE', summary: 'another file than the client’s usual one' },
      agent: {
        type: 'string',
        value: 'NAME',
        summary: 'docker-agent: whose toolsets, in --file (default: root, or the only one)',
      },
      'headers-helper': {
        type: 'boolean',
        summary: 'claude-code: no proxy; it asks holdfast headers when it connects',
      },
      command: {
        type: 'string',
        value: 'PROGRAM',
        summary: 'what starts Holdfast (default: holdfast, if it is on PATH)',
      },
      print: { type: 'boolean', summary: 'print the entry, and change nothing' },
      remove: { type: 'boolean', summary: 'take the entry out again' },
      force: { type: 'boolean', summary: 'replace or remove an entry that is not one of Holdfast' },
      list: { type: 'boolean', summary: 'show the clients that are here, their files, and our entries' },
    },
    examples: [
      ['holdfast configure cursor https://mcp.notion.com/mcp', 'for Cursor, in every project'],
      ['holdfast configure claude-code URL --scope project', 'in .mcp.json, for all who work on the project'],
      ['holdfast configure docker-agent URL --file agent.yaml', 'an agent of docker-agent'],
      ['holdfast configure vscode URL --print', 'only look'],
    ],
    load: () => import('./commands/configure.ts'),
  },
  {
    name: 'logout',
    argument: { name: 'URL', required: false },
    summary: 'revoke the tokens at the server and remove the login',
    description:
      'The login is removed here even if the server cannot be told; that it could not is reported, with exit code 5.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      forget: {
        type: 'boolean',
        summary: 'remove records whose key is gone: those of URL, or all; nothing is revoked',
      },
      yes: { type: 'boolean', summary: 'with --forget: the key of URL is gone for good' },
    },
    examples: [
      ['holdfast logout https://mcp.notion.com/mcp', 'log out'],
      ['holdfast logout --forget', 'remove every record that no key opens any more'],
    ],
    load: () => import('./commands/logout.ts'),
  },
  {
    name: 'send',
    argument: SERVER,
    summary: 'hand a login over to a machine that has no way to log in',
    description:
      'Seals it to the code that holdfast receive shows there, and prints the sealed blob, which may be seen by anybody and\nopens there only, once, in its time. By itself an access token goes, and nothing to renew it with; --fresh makes a login\nfor the other machine; --move gives the one of this machine away. A refresh token is never copied: its two holders\nwould log each other out. Both ends show the same four words, if nobody has changed the code on its way.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      to: { type: 'string', value: 'CODE', summary: 'the code that holdfast receive shows' },
      fresh: { type: 'boolean', summary: 'log in now, for the other machine; nothing of it is kept here' },
      move: { type: 'boolean', summary: 'send the login of this machine, which then has it no more' },
      out: { type: 'string', value: 'FILE', summary: 'write the blob to a new file, mode 0600' },
      lifetime: {
        type: 'string',
        value: 'SECONDS',
        summary: 'how long the blob may be opened (default: 600)',
      },
      timeout: {
        ...TIMEOUT,
        summary: 'how long a refresh (default: 60), or with --fresh the login (300), may take',
      },
      device: { type: 'boolean', summary: 'with --fresh: log in with a code on another device' },
      paste: { type: 'boolean', summary: 'with --fresh: print the URL, and take the address it ends at' },
      'no-browser': { type: 'boolean', summary: 'with --fresh: print the URL and open nothing' },
    },
    examples: [
      ['holdfast send https://mcp.notion.com/mcp --to CODE', 'an access token, for as long as it lives'],
      ['holdfast send URL --to CODE --fresh', 'a login of its own for the other machine'],
      [
        'holdfast send URL --to "$CODE" | ssh HOST holdfast receive --blob -',
        'with CODE=$(ssh HOST holdfast receive URL --later)',
      ],
    ],
    load: () => import('./commands/send.ts'),
  },
  {
    name: 'receive',
    argument: { name: 'URL', required: false },
    summary: 'show a code that a login can be sent to, and take the login',
    description:
      'Shows a code, and waits for the blob that holdfast send makes for it on a machine that has the login: pasted, or on\nstandard input, or in a file. The code is public, and good for one login. With a URL, the login to that server alone is\ntaken. On a terminal you compare the words of the blob before anything is stored.',
    options: {
      account: { ...ACCOUNT, summary: 'take the login for that account alone (default: whichever comes)' },
      ...KEPT,
      timeout: { ...TIMEOUT, summary: 'how long the code is good (default: 600)' },
      file: {
        type: 'string',
        value: 'FILE',
        summary: 'wait until that file holds the blob, such as a mounted one',
      },
      later: { type: 'boolean', summary: 'print the code and end; open the blob with --blob' },
      blob: {
        type: 'string',
        value: 'FILE',
        summary: 'open the blob in that file, or on standard input: --blob -',
      },
      replace: {
        type: 'boolean',
        summary: 'even where there is a login to that server here, unless an access token comes alone',
      },
      'allow-memory': {
        type: 'boolean',
        summary: 'take the login even if nothing can be kept: it ends with this command',
      },
    },
    examples: [
      ['holdfast receive https://mcp.notion.com/mcp', 'show a code, and wait for the blob'],
      ['CODE=$(holdfast receive URL --later)', 'in a script; then: holdfast receive --blob FILE'],
    ],
    load: () => import('./commands/receive.ts'),
  },
  {
    name: 'import',
    argument: {
      name: 'PEER',
      required: false,
      choices: [
        'mcp-remote',
        'claude-code',
        'codex',
        'gemini',
        'opencode',
        'goose',
        'cline',
        'mcporter',
        'inspector',
        'docker-agent',
        '-',
      ],
    },
    summary: 'move a login here that another program has made',
    description:
      'Takes the tokens out of the other program’s file and seals them here; everything else in that file stays. A refresh\ntoken has one holder: what is imported is there no more, unless only the access token is asked for. PEER is one of:\nmcp-remote, claude-code, codex, gemini, opencode, goose, cline, mcporter, inspector, docker-agent; or - for standard\ninput, with what holdfast export wrote.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      list: {
        type: 'boolean',
        summary: 'show what is there, and change nothing; of every program without PEER',
      },
      url: {
        type: 'string',
        value: 'URL',
        repeats: true,
        summary: 'the login to that server alone; mcp-remote’s own files do not say which server',
      },
      name: {
        type: 'string',
        value: 'NAME',
        summary: 'the login that the program itself calls so',
      },
      issuer: {
        type: 'string',
        value: 'URL',
        summary: 'the authorization server that you logged in at, where the program has not recorded it',
      },
      'access-token-only': {
        type: 'boolean',
        summary: 'take the access token, and leave the login to the other program',
      },
      replace: { type: 'boolean', summary: 'even where there is a login to that server here' },
      file: {
        type: 'string',
        value: 'FILE',
        summary: 'another file, or directory, than the program’s usual one',
      },
      restore: {
        type: 'boolean',
        summary: 'put the program’s file back as it was before an import; with --list, show the backups',
      },
      backup: { type: 'string', value: 'NAME', summary: 'with --restore: that one, not the newest' },
      yes: { type: 'boolean', summary: 'move, or put back, and do not ask' },
    },
    examples: [
      ['holdfast import --list', 'what other programs have'],
      ['holdfast import mcp-remote --url https://mcp.linear.app/mcp', 'move that login'],
      ['holdfast import - < login.json', 'what holdfast export wrote'],
    ],
    load: () => import('./commands/import.ts'),
  },
  {
    name: 'export',
    argument: SERVER,
    summary: 'write a login in the clear, for another program',
    description:
      'Writes JSON, or lines for an environment, to stdout or to a new file that only you can read. By itself it is an access\ntoken, and nothing to renew it with; --move gives the whole login away, which is here no more afterwards. For another\nmachine holdfast send is better: it seals.',
    options: {
      account: ACCOUNT,
      ...KEPT,
      timeout: TIMEOUT,
      reveal: { type: 'boolean', summary: 'needed: the tokens can be read by whoever sees them' },
      format: {
        type: 'string',
        value: 'NAME',
        choices: ['json', 'env', 'mcp-remote', 'docker-agent'],
        summary: 'json (the default, for holdfast import -), env (variables), or whose own files to write',
      },
      out: {
        type: 'string',
        value: 'FILE',
        summary: 'write to a new file, mode 0600; for mcp-remote, its directory',
      },
      replace: { type: 'boolean', summary: 'even where that program has a login to the server' },
      move: {
        type: 'boolean',
        summary: 'the whole login, refresh token included, which leaves this machine',
      },
      yes: { type: 'boolean', summary: 'do not ask' },
    },
    examples: [
      ['holdfast export URL --reveal --yes --format env > .env', 'an access token for a container'],
      ['holdfast export URL --reveal --move --out login.json', 'the login, to seed a secret of a CI'],
    ],
    load: () => import('./commands/export.ts'),
  },
  {
    name: 'rekey',
    summary: 'seal every login under a new key, or under another keyring',
    description:
      'Without --to, makes a new sealing key in each keyring that has one. Where you give the keys yourself, every login is\nsealed under the first of them: put a new one there before. Interrupted at any moment, every login stays readable; run\nit again for the rest. New logins go to the strongest keyring all the same, unless one is chosen.',
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
    name: 'key',
    argument: { name: 'ACTION', required: true, choices: ['new'] },
    summary: 'make a sealing key for many machines: holdfast key new',
    description:
      'Makes a new sealing key, one line, for HOLDFAST_SEALING_KEY_FILE, HOLDFAST_SEALING_KEY or a secret of your platform.\nIt is kept nowhere else. Who has it, and the store, has every login.',
    options: {
      out: { type: 'string', value: 'FILE', summary: 'write it to a new file, mode 0600' },
      reveal: { type: 'boolean', summary: 'print it even where stdout is a terminal' },
    },
    examples: [
      ['holdfast key new --out sealing-key', 'in a file'],
      [
        'holdfast key new | kubectl create secret generic holdfast --from-file=sealing-key=/dev/stdin',
        'a secret of Kubernetes',
      ],
    ],
    load: () => import('./commands/key.ts'),
  },
  {
    name: 'store',
    argument: { name: 'ACTION', required: true, choices: ['status', 'migrate'] },
    summary: 'how the store of a fleet is, or make its tables: status, migrate',
    description:
      'status counts records, claims and what was set aside, and says whether the store can be trusted with logins; it opens\nno record unless told to. migrate makes or renews the tables of PostgreSQL, once, as their owner. Exits with 6 if the\nstore is not fit for use.',
    options: {
      ...KEPT,
      open: { type: 'boolean', summary: 'status: open every record, and count them by state' },
      print: { type: 'boolean', summary: 'migrate: print the SQL, and change nothing' },
    },
    examples: [
      ['holdfast store status', 'for people'],
      ['holdfast store status --open --json', 'for programs, with the logins that need a person'],
      ['holdfast store migrate --print', 'the SQL, for who runs the database'],
    ],
    load: () => import('./commands/store.ts'),
  },
  {
    name: 'refresher',
    summary: 'keep every login of the store warm: refresh each when it is due',
    description:
      'For a fleet, so that nobody waits for a refresh, and logins outlive times without use. Refreshes by the same protocol as\nevery other process, the nearest end first; run as many as you like. Opens no browser. It ends on SIGTERM, when the\nanswers under way are stored.',
    options: {
      ...KEPT,
      every: {
        type: 'string',
        value: 'SECONDS',
        summary: 'how often to look for new logins (default: 30)',
      },
      once: { type: 'boolean', summary: 'refresh what is due now, and end' },
      rate: {
        type: 'string',
        value: 'N',
        summary: 'refreshes begun a minute at one authorization server, at most (default: 600)',
      },
      'metrics-port': {
        type: 'string',
        value: 'PORT',
        summary: 'serve metrics for Prometheus on 127.0.0.1:PORT/metrics (0: any free port)',
      },
      log: LOG,
    },
    examples: [
      ['holdfast refresher --metrics-port 9464 --log json', 'as a service'],
      ['holdfast refresher --once', 'from cron'],
    ],
    load: () => import('./commands/refresher.ts'),
  },
  {
    name: 'doctor',
    summary: 'check keyrings, files, locks, clock and network settings',
    description:
      'Runs independent checks, each with its remedy; among them a real write, read, compare and delete. Shows no secret.\nExits with 1 if a check fails; a warning alone is no failure.',
    options: KEPT,
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

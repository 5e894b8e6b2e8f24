import { readdir } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { allCommands, COMMAND_NAMES, commandNamed } from '../../../src/cli/commands.ts';
import { VERSION } from '../../../src/version.ts';
import { contentsOf } from '../../support/homes/disk.ts';
import { temporaryHome } from '../../support/homes/home.ts';
import { commandLine } from '../../support/transcript.ts';

const at = commandLine('/nonexistent/home');

test('the table has each command whose declaration exists, under its own name', async () => {
  const files = await readdir(new URL('../../../src/cli/specs', import.meta.url));
  expect(COMMAND_NAMES.toSorted()).toEqual(files.map((file) => file.replace(/\.ts$/, '')).toSorted());
  expect((await allCommands()).map(({ name }) => name)).toEqual(COMMAND_NAMES);
});

describe('holdfast help', () => {
  test('gives an overview on stdout', async () => {
    expect(await at.told(['--help'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      holdfast V.V.V: log in to an MCP server once; every process then gets a valid access token.

      Usage: holdfast <command> [options]

        login URL                 log in to an MCP server with the browser
        list                      show every login: state, expiry, scopes, keyring
        token URL                 print a valid access token, refreshed if need be
        headers URL               print the HTTP headers that carry the token
        run URL                   run a command with a fresh access token in its environment
        proxy URL [PORT]          be that server on standard input and output, for clients that know no OAuth
        configure [CLIENT] [URL]  make an MCP client use the login, in the client’s own configuration file
        logout [URL]              revoke the tokens at the server and remove the login
        send URL                  hand a login over to a machine that has no way to log in
        receive [URL]             show a code that a login can be sent to, and take the login
        import [PEER]             move a login here that another program has made
        export URL                write a login in the clear, for another program
        rekey                     seal every login under a new key, or under another keyring
        key ACTION                make a sealing key for many machines: holdfast key new
        store ACTION              how the store of a fleet is, or make its tables: status, migrate
        refresher                 keep every login of the store warm: refresh each when it is due
        doctor                    check keyrings, files, locks, clock and network settings
        completion SHELL          print a completion script for bash, zsh or fish

      holdfast <command> --help says more. holdfast --version prints the version.

      Exit codes: 0 done, 1 failed, 2 usage, 3 login required, 4 keyring locked, denied or missing,
                  5 network or server, 6 store damaged, unsafe or full, 129 hung up, 130 interrupted, 143 terminated.

      Environment:
        HOLDFAST_HOME                 where everything lies (default: $XDG_CONFIG_HOME/holdfast, else ~/.config/holdfast)
        HOLDFAST_KEYRING              as --keyring
        HOLDFAST_STORE                as --store
        HOLDFAST_LOCK                 flock or lease-file, for file systems where the kernel’s lock does not hold
        HOLDFAST_PASSPHRASE           what opens the file keyring, in place of the passphrase that Holdfast makes
        HOLDFAST_PASSPHRASE_FILE      a file that holds it, such as a mounted secret
        HOLDFAST_SEALING_KEY_FILE     a file that holds the sealing key of many machines; see holdfast key
        HOLDFAST_SEALING_KEY          the key itself; HOLDFAST_SEALING_KEY_COMMAND a command that prints it
        HOLDFAST_SEALING_KMS          a key of a KMS that wraps it: vault+https://…, awskms:///…, gcpkms://…
        HOLDFAST_CLIENT_ID            as --client-id of login, for every server; with the two below
        HOLDFAST_CLIENT_SECRET        its secret; HOLDFAST_CLIENT_SECRET_FILE names a file that holds it
        HOLDFAST_CLIENT_KEY           its private key; HOLDFAST_CLIENT_KEY_FILE names a file that holds it
        HOLDFAST_CLIENT_METADATA_URL  as --client-metadata-url of login
        HTTPS_PROXY, NO_PROXY         the proxy for every request, and the hosts that need none
        NODE_EXTRA_CA_CERTS           certificate authorities of your own, in PEM
        BROWSER                       the program that opens the login
        NO_COLOR                      set: no colours
        HOLDFAST_DEBUG                set: errors say where they came from"
    `);
  });

  test('prints the overview on stderr, with exit code 2, when no command was given', async () => {
    const [asked, none] = await Promise.all([at.run(['--help']), at.run([])]);
    expect(none).toEqual({ code: 2, out: '', err: asked.out });
  });

  test('explains a command, its options and examples', async () => {
    expect(await at.told(['login', '--help'])).toMatchInlineSnapshot(`
      "exit 0
      --- stdout
      Usage: holdfast login URL [options]

      Log in to an MCP server with the browser.
      Finds the server’s authorization server, registers with it, opens the browser and keeps the login, sealed under the
      strongest keyring that works here. Where no browser can be opened, it logs in by a code on another device, if the
      server has those; else the URL is printed, and the address that the browser ends at may be pasted.

      Options:
        -a, --account LABEL                which login, where there are several at one server (default: "default")
        -k, --keyring NAME                 auto, native, file, memory, or a name (default: $HOLDFAST_KEYRING, config.json)
            --store NAME                   directory, docker-agent, or an engine’s URL (default: $HOLDFAST_STORE, directory)
            --docker-agent-dir DIR         docker-agent’s configuration directory (default: ~/.config/cagent)
        -t, --timeout SECONDS              how long the login in the browser may take (default: 300)
            --scope SCOPES                 scopes to ask for, by spaces or commas, in place of what the server suggests
            --callback-port PORT           where the browser comes back to, on 127.0.0.1 (default: any free port)
            --callback-url URL             where the browser comes back to instead, with \${callbackPort} for the port
            --browser                      open the browser, whatever the place looks like
            --device                       log in with a code on another device (RFC 8628)
            --paste                        print the URL, and take the address that the browser ends at
            --no-browser                   print the URL, open nothing, and wait for the redirect
            --no-input                     ask nobody: end with exit code 3 where a person is needed
            --allow-memory                 log in even if nothing can be kept: the login ends with this command
            --client-id ID                 a client that was registered there beforehand (or $HOLDFAST_CLIENT_ID)
            --client-secret-file FILE      the file that holds its secret (or $HOLDFAST_CLIENT_SECRET)
            --client-key-file FILE         the file that holds its private key, PKCS #8 in PEM, for private_key_jwt
            --client-key-id KID            what the server knows that key by
            --client-auth METHOD           how the client proves itself, where its secret or key leaves a choice
            --client-issuer ISSUER         the authorization server that knows it; the login is refused at another
            --client-metadata-url URL      our metadata document, for servers that take one as client id
            --client-credentials           without a person: the client itself is the grant
            --workload-token-file FILE     without a person: the platform’s token in that file is the grant
            --workload-token-env NAME      the same from a variable, which each process that renews must have
            --id-token-file FILE           without a person: the enterprise’s ID token in that file; with --idp
            --id-token-env NAME            the same from a variable
            --idp ISSUER                   the enterprise’s identity provider
            --idp-client-id ID             the client that Holdfast is there
            --idp-client-secret-file FILE  the file that holds that client’s secret
            --dpop                         bind the tokens to a key (DPoP, RFC 9449)
            --lenient NAMES                what this server is allowed: see docs/conformance.md; separated by commas
            --trusted-issuer ISSUER        the issuer that its metadata may name in place of the right one
            --metadata-url URL             where the authorization server’s metadata lies
            --json                         print data, and errors, as JSON
        -q, --quiet                        print data and errors only
        -h, --help                         say what the command does

      Examples:
        holdfast login https://mcp.notion.com/mcp
            log in
        holdfast login https://mcp.notion.com/mcp --account work
            a second login at the same server
        holdfast login URL --client-credentials --client-id ID --client-secret-file /run/secrets/mcp
            a service, without a person
        ssh -L 4180:127.0.0.1:4180 HOST holdfast login URL --no-browser --callback-port 4180
            on another machine"
    `);
  });

  test('prints the same help for every way to ask for it', async () => {
    const [asked, ...others] = await Promise.all(
      [
        ['login', '--help'],
        ['login', '-h'],
        ['help', 'login'],
        ['--help', 'login'],
        ['login', 'https://mcp.example.com/mcp', 'too', 'many', '--help'],
      ].map((args) => at.run(args)),
    );
    for (const other of others) expect(other).toEqual(asked);
  });

  test.each(COMMAND_NAMES)('names every option of %s and fits a terminal', async (name) => {
    const { code, out, err } = await at.run([name, '--help']);
    const { options } = (await commandNamed(name)) ?? { options: {} };
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(
      new RegExp(`^Usage: holdfast ${name}( [A-Z]+| \\[[A-Z]+\\])* \\[options\\]( -- [A-Z]+…)?\n`),
    );
    for (const option of [...Object.keys(options), 'json', 'quiet', 'help']) {
      expect(out).toMatch(new RegExp(`^ {2}(-\\w,|   ) --${option}\\b.* {2}\\S`, 'm'));
    }
    expect(out).toContain('\nExamples:\n');
    expect(out.split('\n').filter((line) => line.length > 120)).toEqual([]);
  });

  test('prints the version', async () => {
    const [long, short] = await Promise.all([at.run(['--version']), at.run(['-V'])]);
    expect(long).toEqual({ code: 0, out: `${VERSION}\n`, err: '' });
    expect(short).toEqual(long);
  });
});

describe('an invalid command line', () => {
  test.each<[string[], string, string]>([
    [['lgin'], 'There is no command "lgin".', 'Did you mean: holdfast login'],
    [['log'], 'There is no command "log".', 'Did you mean: holdfast login'],
    [['frobnicate'], 'There is no command "frobnicate".', 'See: holdfast --help'],
    [['help', 'frobnicate'], 'There is no command "frobnicate".', 'See: holdfast --help'],
    [[''], 'There is no command "".', 'See: holdfast --help'],
    [
      ['--quiet', 'list'],
      'There is no option "--quiet" before a command.',
      'Options come after it: holdfast <command> [options]. See: holdfast --help',
    ],
    [['list', '--jsno'], 'holdfast list has no option "--jsno".', 'Did you mean: --json'],
    [['list', '--frob'], 'holdfast list has no option "--frob".', 'See: holdfast list --help'],
    [['list', '-x'], 'holdfast list has no option "-x".', 'See: holdfast list --help'],
    [['list', '--toString'], 'holdfast list has no option "--toString".', 'See: holdfast list --help'],
    [['list', 'x'], 'holdfast list takes no argument, but got "x".', 'See: holdfast list --help'],
    [['list', '--quiet=yes'], '--quiet takes no value, but got "yes".', 'See: holdfast list --help'],
    [['token'], 'holdfast token needs a URL.', 'See: holdfast token --help'],
    [['token', 'a', 'b'], 'holdfast token takes one URL, but got 2 arguments.', 'See: holdfast token --help'],
    [['token', 'a', '--account'], '--account needs a value: --account LABEL', 'See: holdfast token --help'],
    [
      ['token', '--account', '-q', 'a'],
      '--account needs a value, but "-q" follows.',
      'If that is the value: --account=VALUE',
    ],
    [['completion'], 'holdfast completion needs a SHELL.', 'See: holdfast completion --help'],
    [['completion', 'tcsh'], 'There is no completion for "tcsh".', 'Choose one of: bash, zsh, fish'],
    [['completion', 'toString'], 'There is no completion for "toString".', 'Choose one of: bash, zsh, fish'],
  ])('explains why it refuses %j', async (args, message, hint) => {
    const { code, out, err } = await at.run(args);
    expect({ code, out, err }).toEqual({ code: 2, out: '', err: `error: ${message}\n  ${hint}\n` });
  });

  test.each([
    ['--timeout', 'soon', 86_400],
    ['--timeout', '0', 86_400],
    ['--timeout', '1.5', 86_400],
    ['--timeout', '99999999999999999999', 86_400],
    ['--callback-port', '65536', 65_535],
    ['--callback-port', '0x50', 65_535],
  ])('refuses login %s %s', async (option, value, max) => {
    const { path } = await temporaryHome();
    const { code, out, err } = await commandLine(path).run([
      'login',
      'http://127.0.0.1:9/mcp',
      option,
      value,
    ]);
    expect({ code, out, err }).toEqual({
      code: 2,
      out: '',
      err: `error: ${option} "${value}" is not a whole number from 1 to ${max}.\n  See: holdfast login --help\n`,
    });
    expect(await contentsOf(path)).toEqual([]);
  });

  test('prints the error as one JSON object on stderr with --json', async () => {
    const { code, out, err } = await at.run(['token', '--json']);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(JSON.parse(err)).toEqual({
      error: {
        code: 'invalid-argument',
        message: 'holdfast token needs a URL.',
        hint: 'See: holdfast token --help',
        retryable: false,
      },
    });
  });

  test('prints a stack trace only with HOLDFAST_DEBUG', async () => {
    const [plain, debug, json] = await Promise.all([
      at.run(['token', 'nonsense']),
      at.run(['token', 'nonsense'], { HOLDFAST_DEBUG: '1' }),
      at.run(['token', 'nonsense', '--json'], { HOLDFAST_DEBUG: '1' }),
    ]);
    expect(plain.err).not.toContain('    at ');
    expect(debug.err.startsWith(plain.err)).toBe(true);
    expect(debug.err).toMatch(/\nInvalidArgumentError: .*\n {4}at .*credential\.ts/);
    expect(JSON.parse(json.err).error.stack).toMatch(/^InvalidArgumentError/);
  });
});

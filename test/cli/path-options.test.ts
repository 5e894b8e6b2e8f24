import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { commandLine } from '../support/transcript.ts';

/*
 * Unusable paths in every option and variable that takes one. The error names the option or the variable, says in words what
 * is wrong, and shows no error code of the operating system.
 */

type Given = (path: string) => {
  readonly args: readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
};

const URL = 'https://mcp.example.com/mcp';
const CLIENT = ['login', URL, '--client-credentials', '--client-id', 'robot'];
const IDP = ['login', URL, '--idp', 'https://idp.example.com', '--idp-client-id', 'holdfast'];

const READ: Readonly<Record<string, Given>> = {
  '--client-secret-file': (path) => ({ args: [...CLIENT, '--client-secret-file', path] }),
  '--client-key-file': (path) => ({ args: [...CLIENT, '--client-key-file', path] }),
  '--workload-token-file': (path) => ({
    args: ['login', URL, '--client-id', 'robot', '--workload-token-file', path],
  }),
  '--id-token-file': (path) => ({ args: [...IDP, '--client-id', 'robot', '--id-token-file', path] }),
  '--idp-client-secret-file': (path) => ({
    args: [...IDP, '--client-id', 'robot', '--id-token-env', 'ID_TOKEN', '--idp-client-secret-file', path],
  }),
  HOLDFAST_CLIENT_SECRET_FILE: (path) => ({
    args: ['login', URL, '--client-credentials'],
    variables: { HOLDFAST_CLIENT_ID: 'robot', HOLDFAST_CLIENT_SECRET_FILE: path },
  }),
  HOLDFAST_PASSPHRASE_FILE: (path) => ({
    args: ['doctor', '--keyring', 'file'],
    variables: { HOLDFAST_PASSPHRASE_FILE: path },
  }),
  HOLDFAST_SEALING_KEY_FILE: (path) => ({
    args: ['doctor'],
    variables: { HOLDFAST_SEALING_KEY_FILE: path },
  }),
  '--blob': (path) => ({ args: ['receive', '--blob', path] }),
};

/** Holdfast creates these paths, so they may be absent. */
const WRITTEN: Readonly<Record<string, Given>> = {
  '--out': (path) => ({ args: ['key', 'new', '--out', path] }),
  HOLDFAST_HOME: (path) => ({ args: ['list'], variables: { HOLDFAST_HOME: path } }),
};

const WRONG: Readonly<Record<string, { make: (in_: string) => Promise<string>; says: RegExp }>> = {
  'a directory': {
    make: async (directory) => {
      await mkdir(join(directory, 'directory'));
      return join(directory, 'directory');
    },
    says: /is a directory/,
  },
  'nothing that is there': {
    make: async (directory) => join(directory, 'absent'),
    says: /(is not|no) there|There is no/,
  },
  'a path through a file': {
    make: async (directory) => {
      await writeFile(join(directory, 'file'), '');
      return join(directory, 'file', 'below');
    },
    says: /a part of the path is not a directory/,
  },
  'a name that is too long': {
    make: async (directory) => join(directory, 'n'.repeat(300)),
    says: /the path is too long/,
  },
  'a circle of links': {
    make: async (directory) => {
      await symlink(join(directory, 'b'), join(directory, 'a'));
      await symlink(join(directory, 'a'), join(directory, 'b'));
      return join(directory, 'a');
    },
    says: /symbolic links/,
  },
};

const CODES = /\b(EISDIR|ENOENT|ENOTDIR|ENAMETOOLONG|ELOOP|EBUSY|EINVAL)\b/;

describe.skipIf(process.platform === 'win32')('a path that cannot be used', () => {
  const cases = Object.keys(READ).flatMap((name) => Object.keys(WRONG).map((kind) => ({ name, kind })));
  test.each(cases)('says in words why $name cannot read $kind', async ({ name, kind }) => {
    const path = await WRONG[kind]?.make(await temporaryDirectory());
    const { args, variables } = READ[name]?.(path ?? '') ?? { args: [] };
    const at = commandLine((await temporaryHome()).path);
    const { code, out, err } = await at.run(args, variables);
    const told = out + err;
    expect(code).not.toBe(0);
    expect(told).toContain(`${name} names `);
    expect(told).toMatch(WRONG[kind]?.says ?? /^$/);
    expect(told).not.toMatch(CODES);
  });

  const written = Object.keys(WRITTEN).flatMap((name) =>
    ['a path through a file', 'a name that is too long'].map((kind) => ({ name, kind })),
  );
  test.each(written)('says in words why $name cannot write to $kind', async ({ name, kind }) => {
    const path = await WRONG[kind]?.make(await temporaryDirectory());
    const { args, variables } = WRITTEN[name]?.(path ?? '') ?? { args: [] };
    const { code, out, err } = await commandLine((await temporaryHome()).path).run(args, variables);
    expect(code).not.toBe(0);
    expect(out + err).toMatch(WRONG[kind]?.says ?? /^$/);
    expect(out + err).toContain(name);
    expect(out + err).not.toMatch(CODES);
  });
});

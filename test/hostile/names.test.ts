import { describe, expect, test } from 'vitest';
import { numberOf, parseArguments } from '../../src/cli/arguments.ts';
import { allCommands } from '../../src/cli/commands.ts';
import { CLIENTS } from '../../src/configure/clients.ts';
import { sourceNamed } from '../../src/import/sources.ts';
import { storeNamed } from '../../src/vault/storage.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { holdfast } from '../support/processes/process.ts';

/* Names of members that every object has are no names of commands, options, programs, keyrings, stores or settings. */

const NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf'];
const URL_ = 'http://127.0.0.1:1/mcp';

describe.each(NAMES)('the name %s', (name) => {
  test('accepts the name as an option of no command', async () => {
    for (const command of await allCommands()) {
      expect(() => parseArguments(command, [`--${name}`])).toThrow('has no option');
      expect(() => parseArguments(command, [`--${name}=x`])).toThrow('has no option');
      expect(() => numberOf(command, 'timeout', name, { min: 1, max: 2 })).toThrow('is not a whole number');
    }
  });

  test('finds no program, store or client of that name', () => {
    expect(() => sourceNamed(name)).toThrow();
    expect(() => storeNamed(name)).toThrow();
    expect(CLIENTS.some(({ id }) => id === name)).toBe(false);
  });

  test('refuses the name as a command and as every argument with fixed choices', async () => {
    const { path } = await temporaryHome();
    const calls = [
      [name],
      ['help', name],
      ['key', name],
      ['store', name],
      ['completion', name],
      ['configure', name, URL_],
      ['configure', 'cursor', URL_, '--scope', name],
      ['import', name],
      ['export', URL_, '--reveal', '--yes', '--format', name],
      ['list', '--store', name],
      ['login', URL_, '--lenient', name],
      ['proxy', URL_, '--transport', name],
    ];
    const codes = await Promise.all(
      calls.map((args) =>
        holdfast(args, { HOLDFAST_HOME: path }).ended.then(({ code, err }) => [args, code, err]),
      ),
    );
    for (const [args, code, err] of codes) {
      expect([args, code]).toEqual([args, 2]);
      expect(err).not.toMatch(/TypeError|is a bug|defect/);
    }
  });
});

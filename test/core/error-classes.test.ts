import { expect, test } from 'vitest';
import * as errors from '../../src/errors.ts';
import * as index from '../../src/index.ts';

const CLASSES = Object.entries(errors).flatMap(([name, value]) =>
  typeof value === 'function' && value.prototype instanceof errors.HoldfastError && name !== 'HoldfastError'
    ? [[name, value as new (message: string, options: object) => errors.AnyHoldfastError] as const]
    : [],
);

test.each(CLASSES)('%s is exported and has a code of its own', (name, One) => {
  expect(index).toHaveProperty(name, One);
  const { code } = new One('It failed.', { error: 'invalid_grant' });
  const same = CLASSES.filter(([, Other]) => new Other('', { error: 'x' }).code === code);
  expect(same.map(([other]) => other)).toEqual([name]);
});

test('a code tells the class of an error', () => {
  const error: unknown = new errors.OAuthError('It failed.', { error: 'invalid_grant' });
  // The compiler knows `error` as well as `code` here.
  const read = index.isHoldfastError(error) && error.code === 'oauth-error' ? error.error : 'no OAuth error';
  expect(read).toBe('invalid_grant');
});

test('isHoldfastError recognizes errors of another copy of the package, and no other error', async () => {
  const another: string = '../../src/errors.ts?copy';
  const copy = (await import(another)) as typeof errors;
  const error = new copy.TimeoutError('It took too long.');
  expect(error).not.toBeInstanceOf(errors.HoldfastError);
  expect(index.isHoldfastError(error)).toBe(true);
  for (const other of [new Error('x'), { code: 'timeout' }, null, 'timeout', undefined]) {
    expect(index.isHoldfastError(other)).toBe(false);
  }
});

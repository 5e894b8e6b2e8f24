/*
 * Loaded before a program (`--import`). Makes the kernel refuse system calls, as the profile of a container runtime
 * does. HOLDFAST_TEST_REFUSE gives an error number for each name, such as `add_key=1,keyctl=38`. It uses seccomp(2), so
 * it needs no root.
 */
import koffi from 'koffi';

const NUMBERS = {
  x64: { add_key: 248, request_key: 249, keyctl: 250 },
  arm64: { add_key: 217, request_key: 218, keyctl: 219 },
}[process.arch];

const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;
/** The first field of a filter's input is the number of the call. */
const LOAD_NUMBER = { code: 0x20, jt: 0, jf: 0, k: 0 };
const answer = (k) => ({ code: 0x06, jt: 0, jf: 0, k });
const ALLOW = answer(0x7fff0000);
const ERRNO = 0x00050000;

const refused = (process.env['HOLDFAST_TEST_REFUSE'] ?? '').split(',').filter((one) => one !== '');
const rules = refused.flatMap((one) => {
  const [name, errno] = one.split('=');
  // For another call, the filter skips the refusal.
  return [{ code: 0x15, jt: 0, jf: 1, k: NUMBERS[name] }, answer(ERRNO | Number(errno))];
});

if (rules.length > 0) {
  const program = [LOAD_NUMBER, ...rules, ALLOW];
  const filter = Buffer.alloc(8 * program.length);
  program.forEach(({ code, jt, jf, k }, index) => {
    filter.writeUInt16LE(code, 8 * index);
    filter.writeUInt8(jt, 8 * index + 2);
    filter.writeUInt8(jf, 8 * index + 3);
    filter.writeUInt32LE(k, 8 * index + 4);
  });
  koffi.struct('sock_fprog', { len: 'uint16_t', filter: 'void *' });
  const libc = koffi.load(null);
  const setNumber = libc.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
  const setFilter = libc.func('int prctl(int, unsigned long, sock_fprog *, unsigned long, unsigned long)');
  if (setNumber(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error('no_new_privs was refused');
  if (setFilter(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, { len: program.length, filter }, 0, 0) !== 0) {
    throw new Error('the filter was refused');
  }
}

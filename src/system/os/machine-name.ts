import { hostname, userInfo } from 'node:os';

/** What this machine and its user are called, as a program that derives a key from them asks for it. */
export function machineName(): { readonly host: string; readonly user: string } {
  let user = '';
  try {
    user = userInfo().username;
  } catch {
    // A user whom no database knows, as in many containers, has no name.
  }
  return { host: hostname(), user };
}

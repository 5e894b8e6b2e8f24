// The witness: a second implementation of docker-agent's token file and file keyring, written from the description of
// the formats and independent of Holdfast's code. It changes the files as docker-agent does, one operation a call:
//
//	witness DIR read                    the bundle, as JSON
//	witness DIR item                    a new key, as a keyring of the desktop keeps it
//	witness DIR put URL ENTRY           one entry, under the lock
//	witness DIR remove URL
//	witness DIR storm PREFIX COUNT      COUNT entries, one write each
//	witness DIR old BUNDLE              the older layout: one item of the keyring, and no token file
//
// WITNESS_ITEM is the item of the key, where a keyring of the desktop has it.
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	jose "github.com/dvsekhvalnov/jose2go"
)

const keyItem = "oauth:encryption-key"

// item is what the keyring library keeps, in the order of its fields.
type item struct {
	Key                         string
	Data                        []byte
	Label                       string
	Description                 string
	KeychainNotTrustApplication bool
	KeychainNotSynchronizable   bool
}

// entry has the fields that docker-agent knows. It drops every other one, as docker-agent does.
type entry struct {
	AccessToken     string    `json:"access_token"`
	TokenType       string    `json:"token_type"`
	ExpiresIn       int       `json:"expires_in,omitempty"`
	RefreshToken    string    `json:"refresh_token,omitempty"`
	Scope           string    `json:"scope,omitempty"`
	ExpiresAt       time.Time `json:"expires_at"`
	ClientID        string    `json:"client_id,omitempty"`
	ClientSecret    string    `json:"client_secret,omitempty"`
	AuthServer      string    `json:"auth_server,omitempty"`
	RequestedScopes []string  `json:"requested_scopes,omitempty"`
}

type place struct{ dir string }

func (p place) tokens() string       { return filepath.Join(p.dir, "mcp-oauth-tokens.enc") }
func (p place) keyring() string      { return filepath.Join(p.dir, "mcp-oauth-keyring") }
func (p place) passphrase() string   { return filepath.Join(p.keyring(), "passphrase") }
func (p place) item(k string) string { return filepath.Join(p.keyring(), escape(k)) }

func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "%", "%25"), "/", "%2F")
}

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: witness DIR COMMAND"))
	}
	p := place{os.Args[1]}
	args := os.Args[3:]
	var err error
	switch command := os.Args[2]; {
	case command == "read":
		err = p.print()
	case command == "item":
		err = printItem()
	case command == "put" && len(args) == 2:
		var e entry
		if err = json.Unmarshal([]byte(args[1]), &e); err == nil {
			err = p.change(func(bundle map[string]*entry) { bundle[args[0]] = &e })
		}
	case command == "remove" && len(args) == 1:
		err = p.change(func(bundle map[string]*entry) { delete(bundle, args[0]) })
	case command == "storm" && len(args) == 2:
		err = p.storm(args[0], args[1])
	case command == "old" && len(args) == 1:
		err = p.set("oauth:tokens", []byte(args[0]))
	default:
		err = fmt.Errorf("unknown command %s", command)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (p place) print() error {
	bundle, err := p.load()
	if err != nil {
		return err
	}
	text, err := json.Marshal(bundle)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

func (p place) storm(prefix, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := 0; i < n; i++ {
		url := fmt.Sprintf("%s%d", prefix, i)
		e := entry{AccessToken: "access-of-" + url, TokenType: "Bearer", ExpiresAt: time.Now().Add(time.Hour)}
		if err := p.change(func(bundle map[string]*entry) { bundle[url] = &e }); err != nil {
			return err
		}
	}
	return nil
}

// change reads, changes and writes under docker-agent's lock. A file that does not open is an error here, so that the
// tests notice it; docker-agent would start with an empty file.
func (p place) change(how func(map[string]*entry)) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(p.tokens()+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	bundle, err := p.load()
	if err != nil {
		return err
	}
	how(bundle)
	return p.store(bundle)
}

func (p place) load() (map[string]*entry, error) {
	bundle := map[string]*entry{}
	sealed, err := os.ReadFile(p.tokens())
	if errors.Is(err, os.ErrNotExist) {
		return bundle, nil
	}
	if err != nil {
		return nil, err
	}
	gcm, err := p.cipher(false)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("the token file is too short")
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, err
	}
	return bundle, json.Unmarshal(plain, &bundle)
}

func (p place) store(bundle map[string]*entry) error {
	plain, err := json.Marshal(bundle)
	if err != nil {
		return err
	}
	gcm, err := p.cipher(true)
	if err != nil {
		return err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	file, err := os.CreateTemp(p.dir, "mcp-oauth-tokens.*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(gcm.Seal(nonce, nonce, plain, nil))
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), p.tokens()); err != nil {
		return err
	}
	return os.Chmod(p.tokens(), 0o600)
}

func (p place) cipher(create bool) (cipher.AEAD, error) {
	key, err := p.key(create)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (p place) key(create bool) ([]byte, error) {
	if given := os.Getenv("WITNESS_ITEM"); given != "" {
		return keyOf([]byte(given))
	}
	text, err := os.ReadFile(p.item(keyItem))
	if errors.Is(err, os.ErrNotExist) && create {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		return key, p.set(keyItem, key)
	}
	if err != nil {
		return nil, err
	}
	passphrase, err := os.ReadFile(p.passphrase())
	if err != nil {
		return nil, err
	}
	payload, _, err := jose.Decode(string(text), string(passphrase))
	if err != nil {
		return nil, err
	}
	return keyOf([]byte(payload))
}

// keyOf reads the key out of the item, as the keyring library keeps it.
func keyOf(text []byte) ([]byte, error) {
	var found item
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, err
	}
	if found.Key != keyItem || len(found.Data) != 32 {
		return nil, fmt.Errorf("the item %q has %d bytes", found.Key, len(found.Data))
	}
	return found.Data, nil
}

// print a new key as the item that the keyring library keeps in Secret Service and KWallet.
func printItem() error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	text, err := json.Marshal(item{Key: keyItem, Data: key, Label: "Docker Agent OAuth Encryption Key"})
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

func (p place) set(key string, data []byte) error {
	if err := os.MkdirAll(p.keyring(), 0o700); err != nil {
		return err
	}
	passphrase, err := os.ReadFile(p.passphrase())
	if errors.Is(err, os.ErrNotExist) {
		random := make([]byte, 32)
		if _, err := rand.Read(random); err != nil {
			return err
		}
		passphrase = []byte(hex.EncodeToString(random))
		err = os.WriteFile(p.passphrase(), passphrase, 0o600)
	}
	if err != nil {
		return err
	}
	payload, err := json.Marshal(item{Key: key, Data: data, Label: "Docker Agent OAuth Encryption Key"})
	if err != nil {
		return err
	}
	text, err := jose.Encrypt(string(payload), jose.PBES2_HS256_A128KW, jose.A256GCM, string(passphrase),
		jose.Headers(map[string]interface{}{"created": time.Now().String()}))
	if err != nil {
		return err
	}
	return os.WriteFile(p.item(key), []byte(text), 0o600)
}

package account

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// maxDeviceAge is how long a device stays known after a login from it: what browsers
// keep a cookie for at most (RFC 6265bis §5.5).
const maxDeviceAge = 400 * 24 * time.Hour

// nonceSize is of the random part that tells the devices of a user apart.
const nonceSize = 16

// Device returns the value of a cookie for a device on which the user has logged in,
// of A-Z a-z 0-9 - _ and dots. Attempts with it are counted by themselves, so that
// nobody else's attempts keep this device from logging in (SECURITY I11). It proves
// nothing more: no password is spared by it.
func (a *Accounts) Device(userID string) string {
	made := make([]byte, 8)
	binary.BigEndian.PutUint64(made, uint64(a.clock.Now().Unix()))
	b64 := base64.RawURLEncoding
	told := userID + "." + b64.EncodeToString(made) + "." + b64.EncodeToString(randomBytes(nonceSize))
	return told + "." + a.seals.mac("device", told)
}

// DeviceKnown says whether device is what Device returned for that user, not longer
// than 400 days ago.
func (a *Accounts) DeviceKnown(device, userID string) bool {
	owner, _, ok := a.device(device)
	return ok && owner == userID
}

// device returns whose device it is, and what its attempts are counted by.
func (a *Accounts) device(device string) (owner, nonce string, ok bool) {
	if len(device) > 512 {
		return "", "", false
	}
	dot := strings.LastIndexByte(device, '.')
	if dot < 0 || !hmac.Equal([]byte(device[dot+1:]), []byte(a.seals.mac("device", device[:dot]))) {
		return "", "", false
	}
	parts := strings.Split(device[:dot], ".") // we wrote them: what follows can't fail
	made, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(made) != 8 {
		return "", "", false
	}
	age := a.clock.Now().Sub(time.Unix(int64(binary.BigEndian.Uint64(made)), 0))
	return parts[0], parts[2], age < maxDeviceAge
}

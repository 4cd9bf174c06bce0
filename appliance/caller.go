package appliance

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// callerKey is where a connection's context names the process at its other end.
type callerKey struct{}

// withCaller notes who is at the other end of a connection, by what the kernel
// says of a Unix socket: for the audit log.
func withCaller(ctx context.Context, conn net.Conn) context.Context {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return ctx
	}
	var peer *unix.Ucred
	if control := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); control != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, fmt.Sprintf("uid %d, pid %d", peer.Uid, peer.Pid))
}

// caller is who sent the request whose context this is.
func caller(ctx context.Context) string {
	if who, ok := ctx.Value(callerKey{}).(string); ok {
		return who
	}
	return "unknown"
}

package bench

import (
	"context"
	"errors"
	"fmt"

	"sallyport/crypto/cryptodev"
)

// beds are gateways that stand beside each other, so that windows of all can take turns.
type beds struct {
	list    []*bed
	devices *cryptodev.Pool
}

func newBeds(ctx context.Context, folder string, loads ...load) (*beds, error) {
	s, queuePairs, sessions := &beds{}, 0, 0
	for _, l := range loads {
		queuePairs = max(queuePairs, 2*l.workers)
		sessions += l.sas() + l.workers
	}
	var err error
	if s.devices, err = cryptodev.Open(cryptodev.Options{QueuePairs: queuePairs, Sessions: sessions, Socket: cryptodev.SocketAny}); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	for i, l := range loads {
		b, err := newBed(ctx, l, fmt.Sprintf("bench%d", i), folder, s.devices)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.list = append(s.list, b)
	}
	return s, nil
}

func (s *beds) close() error {
	var errs []error
	for _, b := range s.list {
		errs = append(errs, b.close())
	}
	return errors.Join(append(errs, s.devices.Close())...)
}

package config

import "time"

// TLS says with which certificates the doors speak TLS. Without any of its keys they don't. Files are read again when they change.
type TLS struct {
	Auto       bool   `yaml:"auto" jsonschema_description:"Whether the daemon makes a certificate from its own CA in data_dir/certs, and renews it."`
	Cert       string `yaml:"cert" jsonschema_description:"Certificate chain of this host, PEM. Relative to this file."`
	Key        string `yaml:"key" jsonschema_description:"Private key of the certificate, PEM. Relative to this file."`
	ClientCA   string `yaml:"client_ca" jsonschema_description:"CA of the clients' certificates, PEM, relative to this file; auto is the own CA. Empty asks for no certificate."`
	ClientAuth string `yaml:"client_auth" jsonschema:"enum=required,enum=optional" jsonschema_description:"Whether a client without a certificate is refused. A wrong certificate always is."`
}

// On tells whether the doors speak TLS.
func (t TLS) On() bool { return t.Auto || t.Cert != "" }

// CORS says which web pages may use the HTTP door.
type CORS struct {
	Origins []string `yaml:"origins" jsonschema_description:"Origins of web pages that may call this host: scheme://host[:port], where :* is any port and https://*.example.com any subdomain. * is every page that sends a known key."`
}

// Limits bound what a single client may take of the doors.
type Limits struct {
	HeaderTime  time.Duration `yaml:"header_time" min:"100ms" max:"10m" jsonschema_description:"How long the head of an HTTP request, or a TLS or gRPC handshake, may take."`
	HeaderKB    int           `yaml:"header_kb" jsonschema:"minimum=4,maximum=1024" jsonschema_description:"Size of the head of an HTTP request or of gRPC metadata, KiB."`
	HeaderCount int           `yaml:"header_count" jsonschema:"minimum=16,maximum=10000" jsonschema_description:"Header lines of an HTTP request."`
	BodyStall   time.Duration `yaml:"body_stall" min:"100ms" max:"1h" jsonschema_description:"A request is ended when its body brings no byte for so long."`
	BodyTime    time.Duration `yaml:"body_time" min:"1s" max:"24h" jsonschema_description:"How long a whole body may take, even one that goes on arriving."`
	WriteStall  time.Duration `yaml:"write_stall" min:"100ms" max:"1h" jsonschema_description:"An answer is ended when its client reads nothing for so long."`
	IdleTime    time.Duration `yaml:"idle_time" min:"1s" max:"24h" jsonschema_description:"How long a connection may stay open without a request."`
	Streams     int           `yaml:"streams" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Requests at the same time on one HTTP/2 or gRPC connection."`
	MessageMB   int           `yaml:"message_mb" jsonschema:"minimum=1,maximum=1024" jsonschema_description:"Largest gRPC message, MiB."`
	Subs        int           `yaml:"nats_subscriptions" jsonschema:"minimum=1,maximum=1000000" jsonschema_description:"Subscriptions of one NATS connection."`
}

func defaultServer() Server {
	return Server{
		Bind: "127.0.0.1", ZMQPort: 7211, GRPCPort: 7212, RESTPort: 8008, NATSPort: 4222,
		MaxWorkers: 16, MaxBodyMB: 64, BodyBudgetMB: 256, DrainTimeout: 30 * time.Second, Anonymous: "read",
		TLS:  TLS{ClientAuth: "required"},
		CORS: CORS{Origins: []string{"http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*", "http://[::1]:*", "https://[::1]:*"}},
		Limits: Limits{HeaderTime: 10 * time.Second, HeaderKB: 64, HeaderCount: 200, BodyStall: 30 * time.Second, BodyTime: 10 * time.Minute,
			WriteStall: 2 * time.Minute, IdleTime: 2 * time.Minute, Streams: 4096, MessageMB: 100, Subs: 10000},
	}
}

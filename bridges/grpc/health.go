package grpcapi

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// healthServer asks the gateway at each check, so that an answer is never older than the question.
type healthServer struct {
	pb.UnimplementedHealthServer
	server *Server
}

// knows tells the services whose health is the gateway's: the whole server and ModelOps.
func knows(service string) bool {
	return service == "" || service == messages.ModelOps_ServiceDesc.ServiceName
}

func (h *healthServer) now() pb.HealthCheckResponse_ServingStatus {
	select {
	case <-h.server.draining:
		return pb.HealthCheckResponse_NOT_SERVING
	default:
	}
	if h.server.Gateway.Health().OK {
		return pb.HealthCheckResponse_SERVING
	}
	return pb.HealthCheckResponse_NOT_SERVING
}

func (h *healthServer) Check(_ context.Context, r *pb.HealthCheckRequest) (*pb.HealthCheckResponse, error) {
	if !knows(r.Service) {
		return nil, status.Errorf(codes.NotFound, "%q is no service here: ask for %q or leave it empty",
			r.Service, messages.ModelOps_ServiceDesc.ServiceName)
	}
	return &pb.HealthCheckResponse{Status: h.now()}, nil
}

func (h *healthServer) List(context.Context, *pb.HealthListRequest) (*pb.HealthListResponse, error) {
	now := &pb.HealthCheckResponse{Status: h.now()}
	return &pb.HealthListResponse{Statuses: map[string]*pb.HealthCheckResponse{
		"": now, messages.ModelOps_ServiceDesc.ServiceName: now,
	}}, nil
}

// Watch tells the present status and each change. It ends when the server stops, or graceful stopping would wait for it for ever.
func (h *healthServer) Watch(r *pb.HealthCheckRequest, stream grpc.ServerStreamingServer[pb.HealthCheckResponse]) error {
	look := time.NewTicker(h.server.HealthPeriod)
	defer look.Stop()
	draining := h.server.draining
	last := pb.HealthCheckResponse_UNKNOWN
	for {
		now := pb.HealthCheckResponse_SERVICE_UNKNOWN
		if knows(r.Service) {
			now = h.now()
		}
		if now != last {
			if err := stream.Send(&pb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-look.C:
		case <-draining:
			draining = nil // said once; a closed channel would spin
		case <-h.server.stopping:
			return status.Error(codes.Unavailable, "the server is stopping")
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// Package natsapi is the NATS door: the micro service "modelops", for any NATS client and for `nats micro ls|info|stats`.
//
// Requests go to modelops.v1.ENDPOINT with JSON bodies (protojson of messages, in proto names):
//
//	infer.MODEL        InferenceRequest, or an OpenAI-like body -> InferenceResponse, or a stream of InferenceChunk
//	cancel.REQUEST_ID  ends a running inference; also as a publish; needs the key and the role of infer
//	OPERATION[.NAME]   every other operation of messages.OperationTable, by its nats option
//	events.KIND.NAME.EVENT  is published for each event of the journal
//
// A name is the rest of the subject, or a field of the body; what a subject can't hold is percent-encoded (Token). Failures carry the headers
// Nats-Service-Error-Code and Nats-Service-Error, an ErrorBody, and Retry-After-Ms where waiting helps.
//
// A stream is asked for with "stream": true or the header Modelops-Stream. Its messages go to the reply subject, numbered from 0 in
// Modelops-Index; the chunk with done is followed by an empty message with Status: EOF. NATS gives no back-pressure and drops what a
// slow reader can't take: a gap in the numbers shows it.
//
// NATS can't tell that a requester has gone. A request ends by its Modelops-Timeout (default: the server's), by cancel, or when the
// server stops. The door decides nothing and keeps only the list of what runs.
package natsapi

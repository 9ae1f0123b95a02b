// Package trainer runs the attempts of jobs: trainers of any kind, as child processes that outlive the daemon.
//
// An attempt is run by a runner, a process of this program (`modelops runner`), which starts the trainer, reads its lines and writes down how it
// ends. So the outcome of a job that ended while no daemon ran is on disk, and the job is not run again.
//
//	daemon ──Start──▶ runner ──starts──▶ trainer
//	   ▲                │  ▲                │
//	   │                │  └─ JSON lines ───┘ step, loss, metrics, checkpoint, artifact, done, error
//	   │                ▼
//	 Follow ◀── attempt-N/reports.jsonl (checkpoints, artifacts; each synced)
//	        ◀── attempt-N/exit.json     (the outcome; written once, last)
//	 Metrics ◀─ metrics.jsonl           (samples of all attempts; bounded)
//
// The files of a job lie in one folder: order.json and log of each attempt beside the above, checkpoints/ and out/.
//
// A runner that is killed takes its trainer along, and leaves no exit.json: its attempt is lost, and a later one begins at the last checkpoint.
//
// The package knows no queue, no memory and no retry: package job decides about those. Linux only.
package trainer

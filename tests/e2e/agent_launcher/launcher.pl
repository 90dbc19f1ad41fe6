#!/usr/bin/perl
# A launcher written from the contract of agent jobs alone: it registers, polls, runs a command for each job, reports,
# sends heartbeats, and gives up after three failed polls in a row. It knows nothing of Launchyard, and repeats nothing
# that the contract does not repeat. It is in Perl because git needs Perl, so that it runs wherever this repository was
# cloned.
#
#     launcher.pl --log FILE [--hostname NAME] [--executor-type TYPE] COMMAND...
#
# AGENT_ORCHESTRATOR_API_URL is the base URL, which may hold a key; POLL_TIMEOUT and HEARTBEAT_INTERVAL are in seconds;
# PROJECT_DIR is the default of jobs without one. Each step is a JSON line in FILE.
#
# The original has three threads. Here the polls and the heartbeats are processes of their own, and the rest is a loop.
use strict;
use warnings;
use Cwd qw(getcwd);
use Fcntl qw(F_SETFD FD_CLOEXEC);
use File::Temp qw(tempfile);
use Getopt::Long qw(:config no_ignore_case require_order);
use HTTP::Tiny;
use IO::Handle;
use IO::Select;
use JSON::PP;
use POSIX qw(:sys_wait_h _exit);
use Time::HiRes qw(time sleep);

my ($log_file, $hostname, $executor_type) = ('', undef, undef);
GetOptions('log=s' => \$log_file, 'hostname=s' => \$hostname, 'executor-type=s' => \$executor_type) or exit 2;
exit 2 unless length $log_file && @ARGV;
my @command  = @ARGV;
my $url      = $ENV{AGENT_ORCHESTRATOR_API_URL} // 'http://localhost:8765';
my $patience = ($ENV{POLL_TIMEOUT} // 30) + 5;       # of every request, in seconds
my $interval = $ENV{HEARTBEAT_INTERVAL} // 60;
my $project  = $ENV{PROJECT_DIR} // getcwd();
my $json     = JSON::PP->new->utf8->canonical;
my $http     = HTTP::Tiny->new(timeout => $patience, max_redirect => 0);
open my $log, '>>', $log_file or exit 2;

sub note {
    my ($step, %more) = @_;
    syswrite $log, $json->encode({ at => time, step => $step, %more }) . "\n";
}

sub request {
    my ($method, $path, $body) = @_;
    my $options = defined $body
      ? { headers => { 'Content-Type' => 'application/json' }, content => $json->encode($body) }
      : {};
    return $http->request($method, "$url$path", $options);
}

my $answer = request('POST', '/launcher/register',
    { hostname => $hostname, project_dir => $project, executor_type => $executor_type });
my $registered = $answer->{status} == 200 ? eval { $json->decode($answer->{content}) } : undef;
for my $needed (qw(launcher_id poll_endpoint poll_timeout_seconds heartbeat_interval_seconds)) {
    next if defined $registered->{$needed};
    note('not_registered', status => $answer->{status}, content => $answer->{content});
    exit 1;
}
my $id = $registered->{launcher_id};
note('registered', launcher_id => $id);

# The polls. What is seen goes to the loop as a JSON line; the next poll follows once the loop has handled it.

sub poll_once {
    my $answer = request('GET', "$registered->{poll_endpoint}?launcher_id=$id");
    return { seen => 'nothing' } if $answer->{status} == 204;
    return { seen => 'nothing' } if $answer->{status} == 599 && $answer->{content} =~ /^Timed out while waiting/;
    my $body = $answer->{status} == 200 ? eval { $json->decode($answer->{content}) } : undef;
    if (ref $body eq 'HASH') {
        return { seen => 'deregistered' } if $body->{deregistered};
        return { seen => 'stop', job_ids => $body->{stop_jobs} } if exists $body->{stop_jobs};
        my $job = $body->{job};
        return { seen => 'job', job => $job }
          if ref $job eq 'HASH' && !grep { !defined $job->{$_} } qw(job_id type session_name prompt);
    }
    return { seen => 'error', status => $answer->{status}, content => substr($answer->{content} // '', 0, 200) };
}

sub poll_for_ever {
    my ($to_loop, $from_loop) = @_;
    my $failures = 0;
    while (1) {
        my $seen = poll_once();
        $failures = $seen->{seen} eq 'error' ? $failures + 1 : 0;
        note('poll', %$seen) if $seen->{seen} ne 'nothing';
        if ($failures) {
            last if $failures == 3;
            sleep($failures);
        }
        elsif ($seen->{seen} ne 'nothing') {
            print {$to_loop} $json->encode($seen) . "\n";
            defined <$from_loop> or _exit(0);
        }
    }
    print {$to_loop} $json->encode({ seen => 'given_up' }) . "\n";
}

sub send_heartbeats {
    while (1) {
        sleep($interval);
        my $answer = request('POST', '/launcher/heartbeat', { launcher_id => $id });
        note('heartbeat', status => $answer->{status});
    }
}

sub in_a_process {
    my ($work) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM);
    $work->();
    _exit(0);
}

pipe(my $from_polls, my $to_loop)  or die "pipe: $!";
pipe(my $from_loop,  my $to_polls) or die "pipe: $!";
$_->autoflush for $to_loop, $to_polls;
my @helpers = (
    in_a_process(sub { close $_ for $from_polls, $to_polls; poll_for_ever($to_loop, $from_loop) }),
    in_a_process(sub { close $_ for $from_polls, $to_polls, $to_loop, $from_loop; send_heartbeats() }),
);
close $_ for $to_loop, $from_loop;

# The jobs

my %running;    # by job id: the process, and the file with what it writes to standard error

sub report {
    my ($job_id, $kind, %fields) = @_;
    my $answer = request('POST', "/launcher/jobs/$job_id/$kind", { launcher_id => $id, %fields });
    note("reported", %fields, job_id => $job_id, kind => $kind, http => $answer->{status}, content => $answer->{content});
    return $answer->{status} == 200;
}

sub start_job {
    my ($job) = @_;
    my $starts = $job->{type} eq 'start_session';
    my %input = (schema_version => '1.0', mode => $starts ? 'start' : 'resume');
    $input{$_} = $job->{$_} for qw(session_name prompt);
    $input{project_dir} = $job->{project_dir} // $project if $starts;
    $input{agent_name}  = $job->{agent_name} if $starts && defined $job->{agent_name};
    my ($stdin, $errors) = map { scalar tempfile(UNLINK => 1) } 1 .. 2;
    print {$stdin} $json->encode(\%input);
    $stdin->flush;
    seek $stdin, 0, 0;
    pipe(my $refused, my $refusal) or die "pipe: $!";
    fcntl $refusal, F_SETFD, FD_CLOEXEC;
    my $pid = fork // die "fork: $!";

    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM);
        $ENV{AGENT_SESSION_NAME} = $job->{session_name};
        open STDIN,  '<&', $stdin;
        open STDOUT, '>',  '/dev/null';
        open STDERR, '>&', $errors;
        { no warnings 'exec'; exec { $command[0] } @command; }
        syswrite $refusal, "$command[0]: $!";
        _exit(127);
    }
    close $refusal;
    my $why = join '', <$refused>;
    if (length $why) {
        waitpid $pid, 0;
        return report($job->{job_id}, 'failed', error => $why);
    }
    $running{ $job->{job_id} } = { pid => $pid, errors => $errors };
    note('started', job_id => $job->{job_id}, pid => $pid, mode => $input{mode});
    report($job->{job_id}, 'started')
      or report($job->{job_id}, 'failed', error => 'The start could not be reported');
}

sub ended {
    my ($job_id) = @_;
    return waitpid($running{$job_id}{pid}, WNOHANG) > 0;
}

sub supervise {
    for my $job_id (sort keys %running) {
        next unless ended($job_id);
        my $code = $? & 127 ? -($? & 127) : $? >> 8;
        my $errors = (delete $running{$job_id})->{errors};
        note('ended', job_id => $job_id, code => $code);
        if ($code == 0) { report($job_id, 'completed', status => 'success'); next }
        seek $errors, 0, 0;
        my $text = join '', <$errors>;
        report($job_id, 'failed', error => length $text ? $text : "Process exited with code $code");
    }
}

sub stop_job {
    my ($job_id) = @_;
    my $job = $running{$job_id} or return note('stop_ignored', job_id => $job_id);
    my ($signal, $deadline) = ('SIGTERM', time + 5);
    kill TERM => $job->{pid};
    while (!ended($job_id)) {
        if (time < $deadline) { sleep(0.05); next }
        $signal = 'SIGKILL';
        kill KILL => $job->{pid};
        waitpid $job->{pid}, 0;
        last;
    }
    delete $running{$job_id};
    report($job_id, 'stopped', signal => $signal);
}

my ($over, $deregisters) = (0, 1);
$SIG{$_} = sub { $over = 1 } for qw(INT TERM);
my $polls = IO::Select->new($from_polls);
my $next_look = time + 1;
while (!$over) {
    if ($polls->can_read($next_look > time ? $next_look - time : 0)) {
        my $line = <$from_polls>;
        my $seen = defined $line ? $json->decode($line) : { seen => 'given_up' };
        if ($seen->{seen} eq 'job')  { start_job($seen->{job}) }
        if ($seen->{seen} eq 'stop') { stop_job($_) for @{ $seen->{job_ids} } }
        if ($seen->{seen} =~ /^(deregistered|given_up)$/) {
            note($seen->{seen});
            ($over, $deregisters) = (1, 0);
        }
        print {$to_polls} "\n" unless $over;
    }
    if (time >= $next_look) {
        supervise();
        $next_look = time + 1;
    }
}
kill KILL => @helpers;
request('DELETE', "/launchers/$id?self=true") if $deregisters;
note('shut_down');
exit 0;
